// Keyboard shortcuts, most of which press a button, and a crosshair on the picture.

import { select } from "./actions.js";
import { find, make } from "./dom.js";
import { box, click, clickOrSelect } from "./pointer.js";
import { clearPreview, previewAt } from "./preview.js";
import { streamAt } from "./grid.js";
import { cancelDrawing, insertCorner, moveCorner, removeCorner, saveCorners, stepCorner } from "./regions.js";
import { freeze, objectUnder, unfreeze, updateOverlay } from "./viewer.js";
import { store, watches } from "./store.js";
import { nextEffect, toggleGrid } from "./view_menu.js";
import { zoomAt } from "./zoom.js";

const STEP = 0.02;
const KEY_ZOOM = 1.5;
/** Keys that do the same as another. */
const SAME = { Backspace: "Delete", "=": "+" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function initKeyboard(showStream) {
	const stepStream = (step) => { if (store.streams.length > 1) showStream(streamAt(step)); };
	const keys = {
		Escape: () => cancelDrawing() || select(null),
		e: () => watches || find(`.object[data-id="${store.selected}"] input`)?.focus(),
		"[": () => stepStream(-1),
		"]": () => stepStream(1),
		v: nextEffect,
		g: toggleGrid,
		"+": () => zoomAt([0.5, 0.5], KEY_ZOOM),
		"-": () => zoomAt([0.5, 0.5], 1 / KEY_ZOOM),
	};
	showShortcuts();
	document.addEventListener("keydown", (event) => {
		if (event.altKey || event.target.closest('input:not([type="range"]), select') || find("dialog[open]")) return;
		const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
		const key = SAME[letter] ?? letter;
		const number = Number(key);
		const button = buttonOf(event, key);
		if (event.ctrlKey || event.metaKey) {
			if (!button) return;
		} else if (number >= 1) {
			selectNth(number);
		} else if (keys[key]) {
			keys[key]();
		} else if (!button) {
			return;
		}
		event.preventDefault();
		if (!event.repeat) button?.click();
	});
}

/** Add the shortcuts of buttons to their tooltips and to the help. */
function showShortcuts() {
	for (const button of document.querySelectorAll("[aria-keyshortcuts]")) {
		const [key] = button.getAttribute("aria-keyshortcuts").split(" ");
		if (!watches || !button.closest("#toolbar")) find("#help dl").append(make("dt", {}, make("kbd", {}, key)), make("dd", {}, button.title));
		button.title += ` (${key})`;
	}
}

/** The button with this shortcut, if it is there. */
function buttonOf({ ctrlKey, metaKey, shiftKey }, key) {
	const held = ctrlKey || metaKey ? shiftKey ? "Control+Shift+" : "Control+" : "";
	const name = held + (key.length === 1 ? key.toUpperCase() : key);
	const button = find(`[aria-keyshortcuts~="${CSS.escape(name)}"]`);
	return button?.checkVisibility() ? button : null;
}

function selectNth(number) {
	const object = store.frame?.objects[number - 1];
	if (object) select(object.id);
}

/** Arrow keys move a crosshair over the picture; Enter clicks there, B sets the corners of a box. */
export function initCrosshair(canvas) {
	let crosshair = null;
	let corner = null;
	let cornerFrame = null;

	const clear = () => {
		if (crosshair) clearPreview();
		crosshair = corner = cornerFrame = null;
		updateOverlay({ crosshair, corner });
		unfreeze();
	};
	canvas.addEventListener("blur", clear);
	canvas.addEventListener("keyup", (event) => { if (store.editing && ARROWS[event.key]) saveCorners(); });
	canvas.addEventListener("keydown", (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		if (store.editing) {
			if (!editByKey(event)) return;
		} else if (ARROWS[event.key]) {
			crosshair = stepped(crosshair ?? [0.5, 0.5], event);
			if (objectUnder(crosshair) === null) previewAt(crosshair, store.negative && store.selected !== null ? 0 : 1);
			else clearPreview();
		} else if (event.key === "Enter" && crosshair && store.frame) {
			if (event.shiftKey || store.negative) click(crosshair, 0, store.frame);
			else clickOrSelect(crosshair, store.frame);
		} else if (event.key.toLowerCase() === "b" && crosshair && store.frame) {
			if (corner) {
				box(corner, crosshair, cornerFrame);
				corner = cornerFrame = null;
				unfreeze();
			} else {
				freeze();
				[corner, cornerFrame] = [crosshair, store.frame];
			}
		} else {
			if (event.key === "Escape") clear();
			return;
		}
		event.preventDefault();
		event.stopPropagation();
		updateOverlay({ crosshair, corner });
	});
}

/** Returns whether the key changes the chosen corner. */
function editByKey(event) {
	const { points, index } = store.editing;
	if (ARROWS[event.key]) moveCorner(stepped(points[index], event));
	else if (event.key === "PageDown") stepCorner(1);
	else if (event.key === "PageUp") stepCorner(-1);
	else if (event.key === "Insert") insertCorner();
	else if (event.key === "Delete" || event.key === "Backspace") removeCorner();
	else return false;
	return true;
}

function stepped([x, y], { key, shiftKey }) {
	const step = shiftKey ? STEP / 4 : STEP;
	return [clamp(x + ARROWS[key][0] * step), clamp(y + ARROWS[key][1] * step)];
}

const clamp = (value) => Math.min(1, Math.max(0, value));

// Keyboard shortcuts, and a crosshair on the picture.

import { redo, remove, select, togglePause, undo } from "./actions.js";
import { saveSnapshot } from "./capture.js";
import { nextCandidate } from "./candidates.js";
import { find } from "./dom.js";
import { box, click, clickOrSelect } from "./pointer.js";
import { clearPreview, previewAt } from "./preview.js";
import { streamAt } from "./grid.js";
import { cancelDrawing, insertCorner, moveCorner, removeCorner, saveCorners, stepCorner } from "./regions.js";
import { freeze, objectUnder, unfreeze, updateOverlay } from "./viewer.js";
import { store, toggle, watches } from "./store.js";
import { nextEffect, toggleFullscreen, toggleGrid } from "./view_menu.js";
import { resetZoom, zoomAt } from "./zoom.js";

const STEP = 0.02;
const KEY_ZOOM = 1.5;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function initKeyboard({ showStream, confirmReset }) {
	const zoomIn = () => zoomAt([0.5, 0.5], KEY_ZOOM);
	const stepStream = (step) => { if (store.streams.length > 1) showStream(streamAt(step)); };
	const keys = {
		n: () => select(null),
		Escape: () => cancelDrawing() || select(null),
		m: () => toggle("negative"),
		u: undo,
		y: redo,
		Delete: () => remove(store.selected),
		Backspace: () => remove(store.selected),
		c: nextCandidate,
		e: () => find(`.object[data-id="${store.selected}"] input`)?.focus(),
		p: togglePause,
		r: confirmReset,
		"[": () => stepStream(-1),
		"]": () => stepStream(1),
		f: toggleFullscreen,
		l: () => toggle("labels"),
		t: () => toggle("trails"),
		v: nextEffect,
		g: toggleGrid,
		s: saveSnapshot,
		"+": zoomIn,
		"=": zoomIn,
		"-": () => zoomAt([0.5, 0.5], 1 / KEY_ZOOM),
		0: resetZoom,
		"?": () => find("#help").showModal(),
	};
	if (watches) for (const key of "m u y c e p r Delete Backspace".split(" ")) delete keys[key];
	document.addEventListener("keydown", (event) => {
		if (event.target.closest('input:not([type="range"]), select') || find("dialog[open]")) return;
		const key = event.key.toLowerCase();
		if ((event.ctrlKey || event.metaKey) && (key === "z" || key === "y")) {
			event.preventDefault();
			if (key === "y" || event.shiftKey) redo();
			else undo();
			return;
		}
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const number = Number(event.key);
		const action = number >= 1 ? () => selectNth(number) : keys[event.key.length === 1 ? key : event.key];
		if (!action) return;
		event.preventDefault();
		action();
	});
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

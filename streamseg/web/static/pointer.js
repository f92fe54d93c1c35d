// Mouse, pen and touch on the picture: hover, clicks, boxes, zoom.

import { confirm, remove, select, sendPrompt } from "./actions.js";
import { nextCandidate } from "./candidates.js";
import { clearPreview, previewAt } from "./preview.js";
import { handleAt } from "./region_layer.js";
import { addCorner, addRectangle, chooseCorner, moveCorner, removeCorner, saveCorners } from "./regions.js";
import { isFound, store, watches } from "./store.js";
import { aimedAt, freeze, objectUnder, showClick, unfreeze, updateOverlay } from "./viewer.js";
import { setZoom, toPicture, toScreen, zoomAt } from "./zoom.js";

const DRAG_PX = 8;
const LONG_PRESS_MS = 550;
const WHEEL_ZOOM = 0.0015;
const MAX_WHEEL_PX = 150;
const CANDIDATE_WHEEL_PX = 60;
/** How near the mouse, and a finger, must be to move a corner. */
const REACH_PX = 10;
const FINGER_REACH_PX = 24;

export function initPointer(canvas) {
	/** Pointer id -> position on the screen, of fingers. */
	const fingers = new Map();
	let press = null;
	let pan = null;
	let pinch = null;
	/** Id of the pointer that moves a corner of a region. */
	let corner = null;
	let turned = 0;

	const onScreen = (event) => {
		const box = canvas.getBoundingClientRect();
		return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
	};
	const onPicture = (event) => toPicture(onScreen(event)).map((value) => Math.min(1, Math.max(0, value)));
	const handleUnder = (event) => {
		const { left, top, width, height } = canvas.getBoundingClientRect();
		const distance = (point) => {
			const [x, y] = toScreen(point);
			return Math.hypot(event.clientX - left - x * width, event.clientY - top - y * height);
		};
		return handleAt(distance, event.pointerType === "touch" ? FINGER_REACH_PX : REACH_PX);
	};
	const labelOf = (event) => !watches && (event.shiftKey || store.negative) ? 0 : 1;

	const end = () => {
		clearTimeout(press?.timer);
		press = pan = corner = null;
		unfreeze();
	};

	canvas.addEventListener("pointerdown", (event) => {
		if (event.pointerType === "touch") {
			fingers.set(event.pointerId, onScreen(event));
			if (fingers.size === 2) {
				end();
				pinch = startPinch([...fingers.values()]);
				return;
			}
		}
		if (press || pan) { end(); return; }
		if (!store.frame) return;
		canvas.setPointerCapture(event.pointerId);
		clearPreview();
		if (event.button === 1 || event.button === 0 && event.altKey) {
			event.preventDefault();
			pan = { id: event.pointerId, point: onPicture(event) };
			return;
		}
		if (event.button !== 0) return;
		const handle = handleUnder(event);
		if (handle) {
			chooseCorner(handle.region, handle.index);
			corner = event.pointerId;
			return;
		}
		freeze(); // the prompt belongs to the picture on the screen
		press = { id: event.pointerId, start: onPicture(event), client: [event.clientX, event.clientY], header: aimedAt(), dragged: false };
		if (event.pointerType !== "mouse") {
			const pressed = press;
			press.timer = setTimeout(() => {
				if (press === pressed && !press.dragged) { click(press.start, 0, press.header); end(); }
			}, LONG_PRESS_MS);
		}
	});

	canvas.addEventListener("pointermove", (event) => {
		if (fingers.has(event.pointerId)) fingers.set(event.pointerId, onScreen(event));
		if (pinch) {
			if (fingers.size === 2) movePinch(pinch, [...fingers.values()]);
		} else if (corner === event.pointerId) {
			moveCorner(onPicture(event));
		} else if (pan?.id === event.pointerId) {
			setZoom(pan.point, onScreen(event), store.zoom.scale);
		} else if (press?.id === event.pointerId) {
			drag(event);
		} else if (event.pointerType === "mouse" && !event.buttons) {
			hover(event);
		}
	});

	function drag(event) {
		press.dragged ||= Math.hypot(event.clientX - press.client[0], event.clientY - press.client[1]) > DRAG_PX;
		if (!press.dragged) return;
		if (event.pointerType === "touch" || watches) { // a finger moves the picture; where it fills the screen, the browser scrolls
			const { id, start } = press;
			end();
			if (store.zoom.scale > 1) pan = { id, point: start };
		} else {
			press.header = store.frame ?? press.header; // a box is drawn on what is shown, wherever the press was aimed
			updateOverlay({ box: ordered(press.start, onPicture(event)) });
		}
	}

	function hover(event) {
		const point = onPicture(event);
		if (store.drawing) {
			clearPreview();
			updateOverlay({ hovered: null, pointer: point });
			return;
		}
		if (handleUnder(event)) {
			clearPreview();
			canvas.style.cursor = "move";
			return;
		}
		const hovered = objectUnder(point);
		updateOverlay({ hovered });
		canvas.style.cursor = hovered === null || hovered === store.selected ? "" : "pointer";
		if (!store.frame || hovered !== null && labelOf(event) === 1) clearPreview();
		else if (labelOf(event) === 1 || store.selected !== null) previewAt(point, labelOf(event));
	}

	canvas.addEventListener("pointerup", (event) => {
		fingers.delete(event.pointerId);
		if (pinch) {
			if (fingers.size === 0) pinch = null;
			return;
		}
		if (corner === event.pointerId) {
			corner = null;
			saveCorners();
			return;
		}
		if (press?.id !== event.pointerId) { if (pan?.id === event.pointerId) pan = null; return; }
		const { start, dragged, header } = press;
		const stop = onPicture(event);
		if (dragged) box(start, stop, header);
		else if (labelOf(event) === 1 && !event.ctrlKey && !event.metaKey) clickOrSelect(start, header);
		else click(start, labelOf(event), header);
		end();
	});

	canvas.addEventListener("pointercancel", (event) => {
		fingers.delete(event.pointerId);
		if (fingers.size === 0) pinch = null;
		end();
	});
	canvas.addEventListener("pointerleave", (event) => {
		if (event.pointerType !== "mouse") return;
		clearPreview();
		updateOverlay({ hovered: null });
	});
	canvas.addEventListener("contextmenu", (event) => {
		event.preventDefault(); // a long press also fires this event
		if (event.pointerType === "touch" || !store.frame || event.button !== 2) return;
		const handle = handleUnder(event);
		if (handle) {
			chooseCorner(handle.region, handle.index);
			removeCorner();
		} else {
			click(onPicture(event), 0, aimedAt());
		}
	});
	canvas.addEventListener("wheel", (event) => {
		if (event.altKey) {
			event.preventDefault();
			turned += event.deltaY;
			if (Math.abs(turned) >= CANDIDATE_WHEEL_PX) { turned = 0; nextCandidate(); }
			return;
		}
		if (event.deltaY > 0 && store.zoom.scale === 1 && !event.ctrlKey) return; // nothing to zoom out of: scroll the page
		event.preventDefault();
		const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 40 : 1) * (event.ctrlKey ? 5 : 1);
		zoomAt(onScreen(event), Math.exp(-WHEEL_ZOOM * Math.max(-MAX_WHEEL_PX, Math.min(MAX_WHEEL_PX, pixels))));
	}, { passive: false });
}

const middle = ([[x0, y0], [x1, y1]]) => [(x0 + x1) / 2, (y0 + y1) / 2];
const distance = ([[x0, y0], [x1, y1]]) => Math.max(0.02, Math.hypot(x1 - x0, y1 - y0));

function startPinch(points) {
	return { point: toPicture(middle(points)), distance: distance(points), scale: store.zoom.scale };
}

function movePinch(pinch, points) {
	setZoom(pinch.point, middle(points), pinch.scale * distance(points) / pinch.distance);
}

/** Select and keep the object at a point; prompt if it is selected already, or there is none. */
export function clickOrSelect(point, header) {
	if (store.drawing) { addCorner(point); return; }
	const object = objectUnder(point, header);
	if (object === null || object === store.selected) {
		click(point, 1, header);
		return;
	}
	select(object);
	confirm(object);
}

/** Prompt with a point, label 1: on the object, 0: off; without a selection, 0 dismisses a found one. */
export function click([x, y], label, header) {
	if (watches) { select(null); return; }
	if (store.drawing) { addCorner([x, y]); return; }
	const under = label === 0 && store.selected === null ? objectUnder([x, y], header) : null;
	if (header.objects.some((object) => object.id === under && isFound(object))) { remove(under); return; }
	showClick(x, y, label);
	sendPrompt({ points: [[x, y, label]] }, header);
}

export function box(first, second, header) {
	if (store.drawing) { addRectangle(first, second); return; }
	const [x0, y0, x1, y1] = ordered(first, second);
	if (x1 > x0 && y1 > y0) sendPrompt({ box: [x0, y0, x1, y1] }, header);
}

function ordered([x0, y0], [x1, y1]) {
	return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

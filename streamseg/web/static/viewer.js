// The large picture and the overlay on it.

import { find } from "./dom.js";
import { paintFrame } from "./effects.js";
import { decodeMasks, decodePicture, objectAt, pixelAspect } from "./frame_message.js";
import { CLICK_MS, drawOverlay } from "./overlay.js";
import { measureShape } from "./shapes.js";
import { on, store, update } from "./store.js";
import { clearTrails, extendTrails } from "./trails.js";

const viewport = find("#viewport");
const picture = find("#picture");
const overlay = find("#overlay");
const MAX_CLICKS = 10;
/** Magnification from which single pixels are shown. */
const PIXELS_FROM = 3;

const view = { header: null, shapes: new Map(), box: null, crosshair: null, corner: null, clicks: [], preview: null, hovered: null, pointer: null };
/** How long a picture must have been there to be aimed at, if the one before stayed for long. */
const SEEN_MS = 150;
const LONG_MS = 500;
/** The picture on the screen, and the one before if that stayed for long: { header, bitmap, objects, at }. */
let shown = null;
let before = null;
let frozen = null;

/** Show a frame. Resolves when it is on the screen: after a drag, since a box must fit its picture. */
export async function showFrame(frame) {
	const bitmap = await decodePicture(frame);
	while (frozen) await frozen.promise; // after decoding, so that the picture cannot change once a drag has begun
	const { header } = frame;
	if (header.stream !== store.stream) {
		bitmap.close();
		return;
	}
	const at = performance.now();
	shown?.bitmap.close();
	before = shown && at - shown.at > LONG_MS ? shown : null;
	shown = { header, bitmap, objects: decodeMasks(frame), at };
	header.objects.sort((one, other) => one.id - other.id); // those that came back are the last for the daemon
	view.header = header;
	view.shapes = new Map(shown.objects.map((object) => [object.id, measureShape(object)]));
	extendTrails(header, view.shapes);
	viewport.style.setProperty("--aspect", header.size[0] * pixelAspect(header) / header.size[1]);
	paint();
	Object.assign(picture.dataset, { stream: header.stream, frame: header.frame });
	update({ frame: header });
	redraw();
}

function paint() {
	if (shown) paintFrame(picture, shown.header.size, shown.bitmap, shown.objects, store);
}

/** Header of the picture that a hand aims at now: not one that came just now, after the one before stood still. */
export const aimedAt = () => (before && performance.now() - shown.at < SEEN_MS ? before : shown)?.header ?? null;

/** Id of the object at a normalized point of the picture with this header; null if there is none. */
export function objectUnder([x, y], header = shown?.header) {
	const aimed = header === before?.header ? before : shown;
	if (!aimed) return null;
	const [width, height] = aimed.header.size;
	return objectAt(aimed.objects, Math.min(width - 1, Math.floor(x * width)), Math.min(height - 1, Math.floor(y * height)));
}

/** Keep the current picture until `unfreeze`. */
export function freeze() {
	if (frozen) return;
	frozen = Promise.withResolvers();
}

export function unfreeze() {
	frozen?.resolve();
	frozen = null;
	updateOverlay({ box: null });
}

export function clearViewer() {
	unfreeze();
	shown?.bitmap.close();
	shown = before = null;
	Object.assign(view, { header: null, shapes: new Map(), clicks: [], preview: null, previewText: "", hovered: null });
	clearTrails();
	picture.getContext("2d").clearRect(0, 0, picture.width, picture.height);
	delete picture.dataset.frame;
	update({ frame: null });
	redraw();
}

export function updateOverlay(changes) {
	Object.assign(view, changes);
	redraw();
}

export function showClick(x, y, label) {
	view.clicks = [...view.clicks.slice(1 - MAX_CLICKS), { x, y, label, at: performance.now() }];
	redraw();
	setTimeout(redraw, CLICK_MS + 20);
}

export function redraw() {
	drawOverlay(overlay, view);
}

function applyZoom() {
	const { x, y, scale } = store.zoom;
	picture.style.transform = scale === 1 ? "" : `scale(${scale}) translate(${-100 * x}%, ${-100 * y}%)`;
	const magnification = scale * viewport.clientWidth / picture.width;
	picture.style.imageRendering = scale > 1 && magnification > PIXELS_FROM ? "pixelated" : "";
	overlay.style.touchAction = scale > 1 ? "none" : "pan-y"; // a swipe moves the picture if there is something to move
	redraw();
}

on("effect opacity", paint);
on("selected labels trails settings settingsOpen drawing editing", redraw);
on("zoom", applyZoom);
new ResizeObserver(applyZoom).observe(viewport);

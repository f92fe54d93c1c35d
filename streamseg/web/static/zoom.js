// Which part of the picture is visible. Coordinates are 0..1 of the picture, and of its place on the screen.

import { store, update } from "./store.js";

const MAX_SCALE = 40;

/** Magnify by `factor` so that the picture stays in place under a point of the screen. */
export function zoomAt([px, py], factor) {
	const { x, y, scale } = store.zoom;
	setZoom([x + px / scale, y + py / scale], [px, py], scale * factor);
}

/** Magnify to `scale` with a point of the picture at a point of the screen. */
export function setZoom([x, y], [px, py], scale) {
	const bounded = Math.min(MAX_SCALE, Math.max(1, scale));
	const corner = (value) => Math.min(1 - 1 / bounded, Math.max(0, value));
	update({ zoom: { x: corner(x - px / bounded), y: corner(y - py / bounded), scale: bounded } });
}

export const resetZoom = () => update({ zoom: { x: 0, y: 0, scale: 1 } });

export function toPicture([px, py]) {
	const { x, y, scale } = store.zoom;
	return [x + px / scale, y + py / scale];
}

export function toScreen([nx, ny]) {
	const { x, y, scale } = store.zoom;
	return [(nx - x) * scale, (ny - y) * scale];
}

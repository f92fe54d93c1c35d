// The labels of objects: on the largest piece of the mask, none over another.

import { isFound, store } from "./store.js";
import { CHIP_HEIGHT, chipWidth, drawChip } from "./strokes.js";

const GAP = 3;
const AMBER = "#f0b429";
/** Object id -> place of its label, kept while it is free: labels must not jump. */
const lastPlace = new Map();

/**
 * Draw labels, and frames around objects that are selected, under the mouse, or only found.
 * `place(x, y)`: position on the canvas of a point of the picture, both normalized; `shapes`: object id -> shape.
 */
export function drawLabels(context, { header, hovered, shapes }, place, width, height) {
	const [pictureWidth, pictureHeight] = header.size;
	const toCanvas = (x, y) => place(x / pictureWidth, y / pictureHeight);
	const taken = [];
	for (const id of lastPlace.keys()) if (!header.objects.some((object) => object.id === id)) lastPlace.delete(id);
	for (const object of header.objects) {
		const marked = object.id === store.selected || object.id === hovered;
		const shape = shapes.get(object.id);
		const visible = shape && ["tracked", "uncertain"].includes(object.state);
		const box = visible ? frameOf(shape.piece, toCanvas) : null;
		if (box && (box.right < 0 || box.bottom < 0 || box.left > width || box.top > height)) continue;
		if ((marked || isFound(object)) && visible) drawFrame(context, object, toCanvas);
		if (!store.labels && !marked) continue;
		const text = textOf(object, visible);
		const size = chipWidth(context, text);
		const spot = box ? choose(object.id, placesAt(box, size), taken, size, width, height) : stack(taken, size, 6, height);
		taken.push(spot);
		const ground = object.state === "uncertain" ? AMBER : object.colour;
		drawChip(context, text, spot.x, spot.y, { ground, ringed: object.id === store.selected });
	}
}

function textOf(object, visible) {
	const name = `${object.id}${isFound(object) ? "?" : ""} ${object.label}`.trim();
	if (!visible) return `${name}: ${object.state}`;
	const quality = (object.confidence ?? object.score).toFixed(2);
	return `${name}  ${quality}${object.state === "uncertain" ? " uncertain" : ""}`;
}

function frameOf({ left, top, right, bottom, middle }, toCanvas) {
	const [x0, y0] = toCanvas(left, top), [x1, y1] = toCanvas(right, bottom);
	return { left: x0, top: y0, right: x1, bottom: y1, middle: toCanvas(...middle) };
}

/** Places for a label at a piece, best first: above it, on it, below, beside. */
function placesAt({ left, top, right, bottom, middle: [x, y] }, size) {
	return {
		above: [x - size / 2, top - CHIP_HEIGHT - GAP],
		on: [x - size / 2, y - CHIP_HEIGHT / 2],
		below: [x - size / 2, bottom + GAP],
		right: [right + GAP, y - CHIP_HEIGHT / 2],
		left: [left - size - GAP, y - CHIP_HEIGHT / 2],
	};
}

function choose(id, places, taken, size, width, height) {
	const fits = ([x, y]) => x >= 0 && y >= 0 && x + size <= width && y + CHIP_HEIGHT <= height;
	const free = ([x, y]) => taken.every((other) => !overlap(other, { x, y, size }));
	const names = Object.keys(places);
	const before = lastPlace.get(id);
	if (before) names.unshift(before);
	const name = names.find((each) => fits(places[each]) && free(places[each]));
	lastPlace.set(id, name);
	if (name) return { x: places[name][0], y: places[name][1], size };
	return stack(taken, size, Math.max(0, Math.min(places.on[0], width - size)), height); // no place is free
}

/** The lowest free place of a column. */
function stack(taken, size, x, height) {
	const spot = { x, y: height - CHIP_HEIGHT - 6, size };
	while (spot.y > 0 && taken.some((other) => overlap(other, spot))) spot.y -= CHIP_HEIGHT + 4;
	return spot;
}

const overlap = (one, other) => one.x < other.x + other.size && other.x < one.x + one.size
	&& Math.abs(one.y - other.y) < CHIP_HEIGHT;

function drawFrame(context, { id, bbox: [x, y, w, h] }, toCanvas) {
	const [left, top] = toCanvas(x, y), [right, bottom] = toCanvas(x + w, y + h);
	context.strokeStyle = "#fff";
	context.setLineDash(id === store.selected ? [5, 4] : [2, 4]);
	context.lineWidth = 1.5;
	context.strokeRect(left - 3, top - 3, right - left + 6, bottom - top + 6);
	context.setLineDash([]);
}

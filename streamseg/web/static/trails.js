// Where objects have been: the centroids of the last seconds, drawn as a fading line.

import { strokeContrast } from "./strokes.js";

const SPAN_MS = 6000;
const MAX_POINTS = 120;
/** Object id -> { color, epoch, points: [[at, x, y]] }, x and y normalized; null is a gap. */
const trails = new Map();

export function extendTrails(header, shapes) {
	const now = performance.now();
	const [width, height] = header.size;
	for (const id of trails.keys()) if (!header.objects.some((object) => object.id === id)) trails.delete(id);
	for (const { id, colour } of header.objects) {
		let trail = trails.get(id);
		if (trail?.epoch !== header.epoch) trails.set(id, trail = { color: colour, epoch: header.epoch, points: [] });
		const shape = shapes.get(id);
		if (shape) trail.points.push([now, shape.centroid[0] / width, shape.centroid[1] / height]);
		else if (trail.points.at(-1)) trail.points.push(null);
		while (trail.points.length > MAX_POINTS || trail.points[0] === null || trail.points[0]?.[0] < now - SPAN_MS) trail.points.shift();
	}
}

export const clearTrails = () => trails.clear();

export function drawTrails(context, place) {
	const now = performance.now();
	context.lineCap = "round";
	for (const { color, points } of trails.values()) {
		strokeContrast(context, () => {
			for (let index = 1; index < points.length; index++) {
				const from = points[index - 1], to = points[index];
				if (!from || !to) continue;
				context.globalAlpha = Math.max(0, 1 - (now - to[0]) / SPAN_MS);
				context.beginPath();
				context.moveTo(...place(from[1], from[2]));
				context.lineTo(...place(to[1], to[2]));
				context.stroke();
			}
		}, color, 2.5);
	}
	context.globalAlpha = 1;
}

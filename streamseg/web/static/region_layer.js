// Shows the regions over the picture, and finds the corner under the mouse.

import { KINDS, hasName, regions } from "./regions.js";
import { store } from "./store.js";
import { drawChip, strokeContrast } from "./strokes.js";

const FILLS = { zone: "rgb(255 255 255 / .08)", region: "rgb(60 207 160 / .14)", ignore: "rgb(0 0 0 / .4)" };
const CORNER_PX = 9;

/** Draw the regions, and what is being drawn up to the pointer. */
export function drawRegions(context, place, pointer) {
	const { drawing, editing, settingsOpen } = store;
	for (const region of regions()) {
		if (!hasName(region.kind) && !settingsOpen) continue;
		const edited = isEdited(region);
		const { kind, key, points } = edited ? editing : region;
		drawPath(context, points, place, kind);
		const [x, y] = place(...points[0]);
		drawChip(context, hasName(kind) ? key : KINDS[kind], x + 6, y + 6);
		if (!settingsOpen || drawing) continue;
		points.forEach((point, index) => drawHandle(context, place(...point), edited && index === editing.index));
	}
	if (!drawing) return;
	const corners = [...drawing.corners, ...(pointer ? [pointer] : [])];
	drawPath(context, corners, place, corners.length > 2 ? drawing.kind : "line", false);
	for (const corner of drawing.corners) drawHandle(context, place(...corner), false);
}

const isEdited = ({ kind, key }) => store.editing?.kind === kind && store.editing.key === key;

/** The corner within `reach` pixels of the pointer: { region, index } or null. */
export function handleAt(distance, reach) {
	if (!store.settingsOpen || store.drawing) return null;
	const handles = regions().flatMap((each) => {
		const region = isEdited(each) ? store.editing : each;
		return region.points.map((point, index) => ({ region, index, off: distance(point) }));
	});
	const nearest = handles.sort((one, other) => one.off - other.off)[0];
	return nearest?.off <= reach ? nearest : null;
}

function drawPath(context, points, place, kind, arrow = true) {
	if (!points.length) return;
	const closed = kind !== "line";
	const placed = points.map((point) => place(...point));
	context.beginPath();
	placed.forEach((point, index) => context[index ? "lineTo" : "moveTo"](...point));
	if (closed) {
		context.closePath();
		context.fillStyle = FILLS[kind];
		context.fill();
		context.setLineDash([7, 5]);
	}
	strokeContrast(context, () => context.stroke());
	context.setLineDash([]);
	if (!closed && arrow) drawArrow(context, ...placed);
}

function drawHandle(context, [x, y], chosen) {
	context.beginPath();
	context.rect(x - CORNER_PX / 2, y - CORNER_PX / 2, CORNER_PX, CORNER_PX);
	context.fillStyle = chosen ? "#0072b2" : "#fff";
	strokeContrast(context, () => context.stroke());
	context.fill();
}

/** From the middle of a line to its right, which is the forward direction. */
function drawArrow(context, [x0, y0], [x1, y1]) {
	const length = Math.hypot(x1 - x0, y1 - y0) || 1;
	const x = (x0 + x1) / 2, y = (y0 + y1) / 2;
	const right = [-(y1 - y0) / length, (x1 - x0) / length], along = [(x1 - x0) / length, (y1 - y0) / length];
	context.fillStyle = "#fff";
	context.beginPath();
	context.moveTo(x + 14 * right[0], y + 14 * right[1]);
	context.lineTo(x + 6 * along[0], y + 6 * along[1]);
	context.lineTo(x - 6 * along[0], y - 6 * along[1]);
	context.fill();
}

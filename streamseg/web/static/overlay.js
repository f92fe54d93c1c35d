// The layer over the picture, at screen resolution.

import { drawLabels } from "./labels.js";
import { drawRegions } from "./region_layer.js";
import { store } from "./store.js";
import { CHIP_HEIGHT, chipWidth, drawChip, strokeContrast } from "./strokes.js";
import { drawTrails } from "./trails.js";
import { toScreen } from "./zoom.js";

export const CLICK_MS = 900;

/**
 * Draw the overlay. `view`: { header, shapes, hovered, pointer, preview, previewText, previewPlace, box, crosshair, corner,
 * clicks }; boxes and points are normalized, `preview` is a canvas of the size of the picture.
 */
export function drawOverlay(canvas, view) {
	const ratio = window.devicePixelRatio || 1;
	const width = canvas.clientWidth, height = canvas.clientHeight;
	if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
		Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
	}
	const context = canvas.getContext("2d");
	context.setTransform(ratio, 0, 0, ratio, 0, 0);
	context.clearRect(0, 0, width, height);
	const place = (x, y) => {
		const [left, top] = toScreen([x, y]);
		return [left * width, top * height];
	};
	if (view.preview) {
		const [left, top] = place(0, 0), [right, bottom] = place(1, 1);
		context.drawImage(view.preview, left, top, right - left, bottom - top);
	}
	if (view.preview && view.previewText && view.previewPlace) drawCandidate(context, view.previewText, place(...view.previewPlace));
	if (view.header && (store.labels || store.drawing || store.settingsOpen)) drawRegions(context, place, view.pointer);
	if (view.header && store.trails) drawTrails(context, place);
	if (view.header) drawLabels(context, view, place, width, height);
	if (view.box) drawBox(context, view.box, place);
	if (view.crosshair) drawCrosshair(context, view.crosshair, view.corner, place);
	for (const click of view.clicks) drawClick(context, click, place);
}

function drawCandidate(context, text, [x, y]) {
	drawChip(context, text, x - chipWidth(context, text) / 2, y - CHIP_HEIGHT / 2);
}

function drawBox(context, [x0, y0, x1, y1], place) {
	const [left, top] = place(x0, y0), [right, bottom] = place(x1, y1);
	const area = [left, top, right - left, bottom - top];
	context.fillStyle = "rgb(255 255 255 / .12)";
	context.fillRect(...area);
	strokeContrast(context, () => context.strokeRect(...area));
}

function drawCrosshair(context, [x, y], corner, place) {
	const [left, top] = place(x, y);
	strokeContrast(context, () => {
		context.beginPath();
		context.moveTo(left - 14, top); context.lineTo(left + 14, top);
		context.moveTo(left, top - 14); context.lineTo(left, top + 14);
		context.stroke();
	});
	if (corner) {
		drawBox(context, [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.max(x, corner[0]), Math.max(y, corner[1])], place);
	}
}

/** A fading dot at a click, green if positive, red if negative. */
function drawClick(context, { x, y, label, at }, place) {
	const age = (performance.now() - at) / CLICK_MS;
	if (age >= 1) return;
	const [left, top] = place(x, y);
	context.globalAlpha = 1 - age;
	context.fillStyle = label ? "#00b27a" : "#e0431b";
	context.beginPath();
	context.arc(left, top, 9, 0, 7);
	context.fill();
	context.strokeStyle = "#fff";
	context.lineWidth = 2;
	context.stroke();
	context.beginPath();
	context.moveTo(left - 4, top); context.lineTo(left + 4, top);
	if (label) { context.moveTo(left, top - 4); context.lineTo(left, top + 4); }
	context.stroke();
	context.globalAlpha = 1;
}

// Small pictures of objects, cut from the large picture as it is shown.

import { make } from "./dom.js";

const MARGIN = 0.15;

/** Draw the part of a picture around a box [x, y, w, h]. Returns whether there is a part. */
export function drawThumbnail(canvas, picture, [x, y, w, h]) {
	const context = canvas.getContext("2d");
	context.clearRect(0, 0, canvas.width, canvas.height);
	if (!w || !h) return false;
	const ratio = canvas.width / canvas.height;
	const height = Math.max(h, w / ratio) * (1 + 2 * MARGIN), width = height * ratio;
	const left = Math.max(0, Math.min(picture.width - width, x + w / 2 - width / 2));
	const top = Math.max(0, Math.min(picture.height - height, y + h / 2 - height / 2));
	const scale = Math.max(1, width / picture.width, height / picture.height);
	context.drawImage(picture, left, top, width / scale, height / scale, 0, 0, canvas.width, canvas.height);
	return true;
}

/** A new canvas with that part; null without a box. */
export function makeThumbnail(picture, box, width = 120, height = 80) {
	const canvas = make("canvas", { width, height, "aria-hidden": "true" });
	return drawThumbnail(canvas, picture, box) ? canvas : null;
}

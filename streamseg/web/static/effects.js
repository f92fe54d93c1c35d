// Paints a frame: the picture with the masks of the same frame, in one of several effects.

import { rgbOf } from "./strokes.js";

export const EFFECTS = {
	color: "Color",
	outline: "Outline",
	spotlight: "Spotlight",
	blur: "Blurred background",
	gray: "Gray background",
	cutout: "Cut-out",
	pixelate: "Pixelated objects",
	none: "Picture only",
};
const BACKGROUND_FILTERS = { spotlight: "brightness(.3)", blur: "blur(9px)", gray: "grayscale(1)" };
const PIXELATED_BLOCKS = 48;
const scratch = document.createElement("canvas");
const layer = document.createElement("canvas");
const blocks = document.createElement("canvas");

/** Paint a frame on a canvas, which is resized to the frame. `objects`: [{ color, roi, mask }], see viewer.js. */
export function paintFrame(canvas, size, bitmap, objects, { effect, opacity }) {
	resize(canvas, size);
	const [width, height] = size;
	const context = canvas.getContext("2d");
	context.clearRect(0, 0, width, height);
	if (effect !== "cutout") {
		context.drawImage(bitmap, 0, 0, width, height);
		const filter = BACKGROUND_FILTERS[effect];
		if (filter && objects.length) { // over the picture: a blur is transparent at the edges
			context.filter = filter;
			context.drawImage(bitmap, 0, 0, width, height);
			context.filter = "none";
		}
	}
	const outlineWidth = Math.max(1, Math.round(Math.min(width, height) / 360));
	if (effect === "color") for (const object of objects) paintMask(context, object, opacity, outlineWidth);
	else if (effect === "outline") for (const object of objects) paintMask(context, object, 0, 2 * outlineWidth);
	else if (effect !== "none" && objects.length) paintCutOut(context, size, bitmap, objects, effect === "pixelate");
}

function paintCutOut(context, size, bitmap, objects, pixelated) {
	const [width, height] = size;
	resize(layer, size);
	const target = layer.getContext("2d");
	target.globalCompositeOperation = "source-over";
	target.clearRect(0, 0, width, height);
	for (const object of objects) paintMask(target, object, 1, 0);
	target.globalCompositeOperation = "source-in";
	target.imageSmoothingEnabled = !pixelated;
	target.drawImage(pixelated ? shrink(bitmap, size) : bitmap, 0, 0, width, height);
	context.drawImage(layer, 0, 0);
}

function shrink(bitmap, [width, height]) {
	resize(blocks, [PIXELATED_BLOCKS, Math.max(1, Math.round(PIXELATED_BLOCKS * height / width))]);
	const context = blocks.getContext("2d");
	context.imageSmoothingQuality = "high";
	context.drawImage(bitmap, 0, 0, blocks.width, blocks.height);
	return blocks;
}

/** Paint a mask in its color, with an outline of this width inside it. */
export function paintMask(context, { color, roi: [x, y, width, height], mask }, opacity, outlineWidth) {
	if (!width || !height) return;
	const [red, green, blue] = rgbOf(color);
	const rgb = blue << 16 | green << 8 | red; // all platforms with browsers are little-endian
	const tint = (Math.round(255 * opacity) << 24 | rgb) >>> 0;
	const solid = (255 << 24 | rgb) >>> 0;
	const image = new ImageData(width, height);
	const pixels = new Uint32Array(image.data.buffer);
	for (let row = 0, at = 0; row < height; row++) {
		const inside = row >= outlineWidth && row < height - outlineWidth;
		for (let column = 0; column < width; column++, at++) {
			if (!mask[at]) continue;
			const interior = inside && column >= outlineWidth && column < width - outlineWidth
				&& mask[at - outlineWidth] && mask[at + outlineWidth]
				&& mask[at - outlineWidth * width] && mask[at + outlineWidth * width];
			pixels[at] = interior || outlineWidth === 0 ? tint : solid;
		}
	}
	if (scratch.width < width || scratch.height < height) {
		resize(scratch, [Math.max(scratch.width, width), Math.max(scratch.height, height)]);
	}
	scratch.getContext("2d").putImageData(image, 0, 0);
	context.drawImage(scratch, 0, 0, width, height, x, y, width, height);
}

export function copyScaled(from, to, width, height) {
	Object.assign(to, { width, height });
	to.getContext("2d").drawImage(from, 0, 0, width, height);
}

function resize(canvas, [width, height]) {
	if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

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
/** Effect -> paints the background over the picture. Filters of the whole take far longer. */
const BACKGROUNDS = {
	spotlight: (context, size) => fill(context, size, "rgb(0 0 0 / .7)", "source-over"),
	gray: (context, size) => fill(context, size, "#808080", "saturation"),
	blur: paintBlurred,
};
const BLUR_SCALE = 4;
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
		if (objects.length) BACKGROUNDS[effect]?.(context, size, bitmap);
	}
	const outlineWidth = Math.max(1, Math.round(Math.min(width, height) / 360));
	if (effect === "color") for (const object of objects) paintMask(context, object, opacity, outlineWidth);
	else if (effect === "outline") for (const object of objects) paintMask(context, object, 0, 2 * outlineWidth);
	else if (effect !== "none" && objects.length) paintCutOut(context, size, bitmap, objects, effect === "pixelate");
}

function paintCutOut(context, size, bitmap, objects, pixelated) {
	const source = pixelated ? shrink(bitmap, size) : bitmap;
	const across = source.width / size[0], down = source.height / size[1];
	const target = layer.getContext("2d");
	for (const { color, roi: [x, y, width, height], mask } of objects) {
		if (!width || !height) continue;
		Object.assign(layer, { width, height }); // clears it
		paintMask(target, { color, roi: [0, 0, width, height], mask }, 1, 0);
		target.globalCompositeOperation = "source-in";
		target.imageSmoothingEnabled = !pixelated;
		target.drawImage(source, x * across, y * down, width * across, height * down, 0, 0, width, height);
		context.drawImage(layer, x, y);
	}
}

function fill(context, [width, height], style, operation) {
	context.globalCompositeOperation = operation;
	context.fillStyle = style;
	context.fillRect(0, 0, width, height);
	context.globalCompositeOperation = "source-over";
}

/** Blur a small copy. It is transparent at the edges, where the picture shows through. */
function paintBlurred(context, [width, height], bitmap) {
	const small = [Math.ceil(width / BLUR_SCALE), Math.ceil(height / BLUR_SCALE)];
	resize(blocks, small);
	const target = blocks.getContext("2d");
	target.filter = `blur(${9 / BLUR_SCALE}px)`;
	target.drawImage(bitmap, 0, 0, ...small);
	target.filter = "none";
	context.drawImage(blocks, 0, 0, width, height);
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

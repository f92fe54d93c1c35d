// Lines and labels that are visible on any picture.

export const CHIP_HEIGHT = 20;
const FONT = "600 13px system-ui, sans-serif";
const DARK = "#0a0d11";

/** Stroke white over black. `stroke()` strokes the path with the style that is set. */
export function strokeContrast(context, stroke, color = "#fff", width = 1.5) {
	for (const [style, wide] of [["rgb(0 0 0 / .6)", width + 2.5], [color, width]]) {
		context.strokeStyle = style;
		context.lineWidth = wide;
		stroke();
	}
}

export function chipWidth(context, text) {
	context.font = FONT;
	return context.measureText(text).width + 12;
}

/** Draw a text on a rounded ground with its left top corner at a point. */
export function drawChip(context, text, x, y, { ground = DARK, ringed = false } = {}) {
	context.beginPath();
	context.roundRect(x, y, chipWidth(context, text), CHIP_HEIGHT, 5);
	context.fillStyle = ground;
	context.fill();
	if (ringed) {
		context.strokeStyle = "#fff";
		context.lineWidth = 2;
		context.stroke();
	}
	context.textBaseline = "middle";
	context.fillStyle = isBright(ground) ? DARK : "#fff";
	context.fillText(text, x + 6, y + CHIP_HEIGHT / 2 + 0.5);
}

export const rgbOf = (color) => [1, 3, 5].map((from) => Number.parseInt(color.slice(from, from + 2), 16));

function isBright(color) {
	const [red, green, blue] = rgbOf(color);
	return 0.3 * red + 0.59 * green + 0.11 * blue > 110;
}

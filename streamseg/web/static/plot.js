// A sparkline of the last minute.

import { make } from "./dom.js";

const SPAN_MS = 60000;
const MIN_SPAN_MS = 10000;
const PERIOD_MS = 250;
const WIDTH = 100;
const HEIGHT = 20;

export class Plot {
	/** `top`: value of the upper edge; null: the largest of the last minute. */
	constructor(color, name, top = null) {
		this.top = top;
		this.line = make("polyline");
		this.line.style.stroke = color;
		this.element = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": name }, this.line);
		this.values = [];
	}

	/** At most four values per second are kept. */
	add(value) {
		const now = performance.now();
		const last = this.values.at(-1);
		if (last && now - last[0] < PERIOD_MS) return;
		this.values.push([now, value]);
		while (this.values[0][0] < now - SPAN_MS) this.values.shift();
	}

	draw() {
		const now = performance.now();
		const span = Math.min(SPAN_MS, Math.max(MIN_SPAN_MS, now - (this.values[0]?.[0] ?? now)));
		const max = this.top ?? Math.max(1, ...this.values.map(([, value]) => value));
		const points = this.values.map(([at, value]) =>
			`${(WIDTH * (1 - (now - at) / span)).toFixed(1)},${(HEIGHT * (1 - value / max)).toFixed(1)}`);
		this.line.setAttribute("points", points.join(" "));
	}
}

// Stream and view in the address of the page, and its title.

import { EFFECTS } from "./effects.js";
import { GRIDS } from "./grid.js";
import { on, store, update } from "./store.js";

const title = () => store.grid ? `${store.streams.length} streams – streamseg`
	: store.stream === null ? "streamseg" : `${store.stream} – streamseg`;
const DEFAULTS = { effect: store.effect, opacity: store.opacity, labels: store.labels };
/** The stream that the address or the user asked for. It may not exist at the moment. */
let requested = null;

export const requestedStream = () => requested;

export function requestStream(stream) {
	requested = stream;
	write();
}

function read() {
	const fields = new URLSearchParams(location.hash.slice(1));
	requested = fields.get("stream");
	const effect = fields.get("effect");
	const view = fields.get("view");
	const opacity = Number.parseFloat(fields.get("opacity"));
	update({
		effect: effect in EFFECTS ? effect : DEFAULTS.effect,
		opacity: opacity >= 0 && opacity <= 1 ? opacity : DEFAULTS.opacity,
		labels: fields.get("labels") !== "off",
		trails: fields.get("trails") === "on",
		grid: view in GRIDS ? view : null,
	});
}

function write() {
	const fields = new URLSearchParams();
	const stream = requested ?? store.stream;
	if (stream !== null) fields.set("stream", stream);
	if (store.grid) fields.set("view", store.grid);
	if (store.effect !== DEFAULTS.effect) fields.set("effect", store.effect);
	if (store.opacity !== DEFAULTS.opacity) fields.set("opacity", String(store.opacity));
	if (!store.labels) fields.set("labels", "off");
	if (store.trails) fields.set("trails", "on");
	history.replaceState(null, "", fields.size ? `#${fields}` : location.pathname);
}

export function initPageUrl(showStream) {
	read();
	on("stream effect opacity labels trails grid", write);
	on("stream streams grid", () => { document.title = title(); });
	window.addEventListener("hashchange", () => {
		read();
		if (store.streams.includes(requested)) showStream(requested);
	});
}

// Which streams the grid shows: the page of them that has the chosen stream.

import { store } from "./store.js";

/** The daemon sends this many streams live to one viewer. */
const MAX_STREAMS = 32;
export const GRIDS = { "2x2": 4, "3x3": 9, all: MAX_STREAMS };

export function gridStreams() {
	const count = GRIDS[store.grid];
	const first = count * Math.floor(Math.max(0, store.streams.indexOf(store.stream)) / count);
	return store.streams.slice(first, first + count);
}

export const gridColumns = () => Math.ceil(Math.sqrt(Math.min(store.streams.length, GRIDS[store.grid]))) || 1;

/** The stream that many steps further, or in the grid pages; after the last comes the first. */
export function streamAt(step) {
	const { streams, stream, grid } = store;
	if (!grid) return streams[(streams.indexOf(stream) + step + streams.length) % streams.length];
	const pages = pageCount();
	const page = Math.floor(Math.max(0, streams.indexOf(stream)) / GRIDS[grid]);
	return streams[(page + step + pages) % pages * GRIDS[grid]];
}

export const pageCount = () => Math.max(1, Math.ceil(store.streams.length / (store.grid ? GRIDS[store.grid] : 1)));

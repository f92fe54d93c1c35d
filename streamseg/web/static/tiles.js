// Streams as tiles, below the large picture or as the grid. Clicking one shows it large.

import { find, make, makeButton, reconcile, setPressed, setText, throttle } from "./dom.js";
import { copyScaled, paintFrame } from "./effects.js";
import { decodeMasks, decodePicture, pixelAspect } from "./frame_message.js";
import { isLate } from "./freshness.js";
import { gridColumns, gridStreams } from "./grid.js";
import { on, store } from "./store.js";

const box = find("#tiles");
const TILE = { effect: "color", opacity: 0.4 };
const CHECK_MS = 500;
const COPY_MS = 1000;
/** A picture of which the pixels are not square, before it is stretched. */
const stored = document.createElement("canvas");
/** Stream -> { element, canvas, text, pictureAt }. */
const tiles = new Map();

export async function showOnTile(frame) {
	const tile = tiles.get(frame.header.stream);
	if (!tile) return;
	const bitmap = await decodePicture(frame);
	const { size } = frame.header;
	const aspect = pixelAspect(frame.header);
	const canvas = aspect === 1 ? tile.canvas : stored;
	paintFrame(canvas, size, bitmap, decodeMasks(frame), store.grid ? store : TILE);
	if (canvas === stored) copyScaled(stored, tile.canvas, Math.round(size[0] * aspect), size[1]);
	bitmap.close();
	tile.pictureAt = performance.now();
}

function copyLargePicture() {
	const tile = tiles.get(store.stream);
	const picture = find("#picture");
	if (!tile || !store.frame || box.hidden || store.grid) return;
	const ratio = picture.height / (picture.width * pixelAspect(store.frame));
	copyScaled(picture, tile.canvas, 320, Math.round(320 * ratio));
}

const count = (objects) => objects === 1 ? "1 object" : `${objects || "no"} objects`;

function showFreshness() {
	for (const [id, { element, pictureAt }] of tiles) {
		const status = store.statuses.get(id);
		const stopped = status !== undefined && status.state !== "streaming";
		element.toggleAttribute("data-stale", stopped || store.grid !== null && isLate(pictureAt, status));
	}
}

export function initTiles(showStream) {
	const makeTile = (id) => {
		const canvas = make("canvas", { width: "320", height: "180", "aria-hidden": "true" });
		const text = make("small");
		const element = makeButton(canvas, () => showStream(id), { class: "tile", "data-stream": id });
		element.append(make("b", {}, id), text);
		return { element, canvas, text, pictureAt: null };
	};
	const show = () => {
		reconcile(box, tiles, store.streams, makeTile);
		const onPage = store.grid ? gridStreams() : store.streams;
		for (const [id, tile] of tiles) {
			const status = store.statuses.get(id);
			tile.element.hidden = !onPage.includes(id);
			setPressed(tile.element, id === store.stream && !store.grid);
			setText(tile.text, !status ? "" : status.state === "streaming" ? count(status.objects) : status.state);
		}
		box.hidden = store.streams.length < 2 && !store.grid;
		box.style.setProperty("--columns", gridColumns());
		showFreshness();
	};
	on("frame", throttle(COPY_MS, copyLargePicture));
	on("streams statuses stream grid", show);
	on("grid", () => { for (const tile of tiles.values()) tile.pictureAt = null; });
	setInterval(showFreshness, CHECK_MS);
}

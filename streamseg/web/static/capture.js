// Save what is seen as a picture (PNG) or a film (WebM), made by the browser.

import { api } from "./api.js";
import { find, make } from "./dom.js";
import { gridColumns } from "./grid.js";
import { showError } from "./notifications.js";
import { pixelAspect } from "./frame_message.js";
import { on, store, update } from "./store.js";
import { drawChip } from "./strokes.js";

const FPS = 30;
const MAX_RECORDING_MS = 10 * 60 * 1000;
/** Width of a saved grid, and the most that one picture of it takes. */
const SHEET_PX = 1920;
const CELL_PX = 960;
const picture = find("#picture");
let recorder = null;

/** What is shown, undistorted, on a canvas; `repaint()` paints it again. */
function makeSheet() {
	const canvas = make("canvas");
	const repaint = store.grid ? () => paintTiles(canvas.getContext("2d"), columns)
		: () => canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
	const columns = gridColumns();
	if (store.grid) {
		const width = Math.min(CELL_PX, Math.floor(SHEET_PX / columns / 16) * 16);
		Object.assign(canvas, { width: width * columns, height: width * 9 / 16 * Math.ceil(shownTiles().length / columns) });
	} else {
		Object.assign(canvas, { width: Math.round(picture.width * pixelAspect(store.frame)), height: picture.height });
	}
	repaint();
	return { canvas, repaint };
}

const shownTiles = () => document.querySelectorAll(".tile:not([hidden])");

function paintTiles(context, columns) {
	const width = context.canvas.width / columns, height = width * 9 / 16;
	context.fillStyle = "#000";
	context.fillRect(0, 0, context.canvas.width, context.canvas.height);
	shownTiles().forEach((tile, index) => {
		const source = tile.querySelector("canvas");
		const left = index % columns * width, top = Math.floor(index / columns) * height;
		const scale = Math.min(width / source.width, height / source.height);
		const across = source.width * scale, down = source.height * scale;
		context.drawImage(source, left + (width - across) / 2, top + (height - down) / 2, across, down);
		drawChip(context, tile.dataset.stream, left + 6, top + 6);
	});
}

function save(blob, name, extension) {
	const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
	const href = URL.createObjectURL(blob);
	download(href, `${name}-${time}.${extension}`);
	setTimeout(() => URL.revokeObjectURL(href), 10000);
}

const download = (href, name) => make("a", { href, download: name }).click();

/** Download a clip that the daemon makes. */
async function recordClip() {
	update({ recording: "clip" });
	await api.clip(store.stream).then(({ clip }) => download(`v1/clips/${clip}`, clip), showError);
	update({ recording: false });
}

const nameOfView = () => store.grid ? "grid" : store.stream;

export function saveSnapshot() {
	if (!store.frame && !store.grid) return;
	const name = nameOfView();
	makeSheet().canvas.toBlob((blob) => save(blob, name, "png"), "image/png");
}

export function toggleRecording({ shiftKey }) {
	if (recorder) {
		recorder.stop();
		return;
	}
	if (!store.frame && !store.grid) return;
	if ("clips" in document.body.dataset && !store.grid && !shiftKey) return recordClip();
	if (!picture.captureStream || !window.MediaRecorder) {
		showError({ message: "This browser cannot record a canvas: use Chrome, Edge or Firefox.", code: "NOT_SUPPORTED" });
		return;
	}
	const { canvas, repaint } = makeSheet();
	const stream = canvas.captureStream(FPS);
	const parts = [], name = nameOfView();
	recorder = new MediaRecorder(stream, { mimeType: "video/webm", videoBitsPerSecond: 8e6 });
	recorder.ondataavailable = ({ data }) => parts.push(data);
	const painting = setInterval(repaint, 1000 / FPS);
	const timer = setTimeout(() => recorder?.stop(), MAX_RECORDING_MS);
	recorder.onstop = () => {
		clearTimeout(timer);
		clearInterval(painting);
		recorder = null;
		for (const track of stream.getTracks()) track.stop();
		save(new Blob(parts, { type: "video/webm" }), name, "webm");
		update({ recording: false });
	};
	recorder.start(1000);
	update({ recording: true });
}

on("stream grid", () => recorder?.stop()); // a film has one size, and shows one thing

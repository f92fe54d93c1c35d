// The mask that a click would give, while the mouse is over the picture.

import { api } from "./api.js";
import { chosenMask } from "./candidates.js";
import { paintMask } from "./effects.js";
import { decodeRle } from "./mask_codec.js";
import { measureShape } from "./shapes.js";
import { on, store, watches } from "./store.js";
import { updateOverlay } from "./viewer.js";

const MIN_PAUSE_MS = 80;
/** While the mouse rests, the mask is renewed for a short time. */
const REST_PERIOD_MS = 500;
const REST_MS = 4000;
const COLOR = "#ffffff";
const canvas = document.createElement("canvas");

/** The newest question: { point, label, selected, stream, movedAt }. One request is in flight, others are skipped. */
let question = null;
let inFlight = false;
let timer = null;

export function previewAt(point, label) {
	if (!store.preview || watches) return;
	question = { point, label, selected: store.selected, stream: store.stream, movedAt: performance.now() };
	if (!inFlight && timer === null) ask();
}

export function clearPreview() {
	question = null;
	clearTimeout(timer);
	timer = null;
	updateOverlay({ preview: null, previewText: "" });
}

async function ask() {
	timer = null;
	const asked = question;
	if (!asked || !store.frame || document.hidden) return;
	const { point: [x, y], label, selected, stream } = asked;
	inFlight = true;
	const startedAt = performance.now();
	let result = null;
	try {
		result = await api.prompt(stream, {
			points: [[x, y, label]], object_id: selected, frame: store.frame.frame, on_expired: "newest", preview: true,
			...(store.candidate !== null && label === 1 ? { candidates: 3 } : {}),
		});
	} catch { /* a preview is a courtesy: the click itself reports errors */ }
	inFlight = false;
	const stillValid = question && question.stream === stream && question.selected === selected && question.label === label;
	if (stillValid && result?.mask) show(result);
	if (!question) return;
	// The pause grows with the time that a preview takes: most of it is for tracking.
	const pause = Math.max(MIN_PAUSE_MS, 2 * (performance.now() - startedAt));
	if (question !== asked) timer = setTimeout(ask, pause);
	else if (performance.now() - asked.movedAt < REST_MS) timer = setTimeout(ask, Math.max(pause, REST_PERIOD_MS));
	else updateOverlay({ preview: null, previewText: "" }); // it would no longer fit what moves
}

function askAgain() {
	if (!question) return;
	question = { ...question, movedAt: performance.now() };
	clearTimeout(timer);
	timer = null;
	if (!inFlight) ask();
}

function show(result) {
	const { mask: rle, text } = chosenMask(result);
	const { size: [height, width], counts } = rle;
	Object.assign(canvas, { width, height });
	const mask = decodeRle(new TextEncoder().encode(counts), width, height);
	const outlineWidth = Math.max(1, Math.round(Math.min(width, height) / 300));
	paintMask(canvas.getContext("2d"), { color: COLOR, roi: [0, 0, width, height], mask }, 0.35, outlineWidth);
	const place = text ? measureShape({ roi: [0, 0, width, height], mask })?.centroid : null;
	updateOverlay({ preview: canvas, previewText: text, previewPlace: place && [place[0] / width, place[1] / height] });
}

on("stream selected preview", clearPreview);
on("candidate", askAgain);

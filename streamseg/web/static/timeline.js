// The last ten minutes of each object: states as a bar, events as marks.

import { select } from "./actions.js";
import { find, make, makeButton, reconcile, setText, throttle } from "./dom.js";
import { objectOf, on, store } from "./store.js";
import { recordOf, SPAN_MS } from "./track_record.js";

const PERIOD_MS = 1000;
const HEIGHT = 16;
/** State -> share of the height of its bar, so that it can be told without its color. */
const SHARES = { tracked: 1, uncertain: 0.65, occluded: 0.35, lost: 0.12, suspended: 0.12 };
const list = find("#timeline-rows");
const details = find("#timeline");
/** Object id, or null for the stream itself -> { element, name, bar, marks, shown }. */
const rows = new Map();
const COLORS = { tracked: "--good", uncertain: "--warn", occluded: "--faint", lost: "--bad", suspended: "--faint" };

function readColors(element) {
	const colors = Object.fromEntries(Object.entries(COLORS).map(([state, name]) => {
		element.style.color = `var(${name})`;
		return [state, getComputedStyle(element).color];
	}));
	element.style.color = "";
	return colors;
}

function makeRow(id) {
	const name = id === null ? make("span", { class: "timeline-name" }, "stream") : makeButton("", () => select(id), { class: "timeline-name" });
	const bar = make("canvas", { height: String(HEIGHT), role: "img" });
	const marks = make("div", { class: "marks" });
	const element = make("li", {}, name, make("div", { class: "timeline-bar" }, bar, marks));
	return { element, name, bar, marks, shown: new Map() };
}

function drawBar({ bar }, spells, now, look) {
	const width = Math.max(1, Math.round(bar.clientWidth * devicePixelRatio));
	const height = Math.round(HEIGHT * devicePixelRatio);
	Object.assign(bar, { width, height });
	const context = bar.getContext("2d");
	const x = (at) => Math.max(0, width * (1 - (now - at) / SPAN_MS));
	for (const { state, from, to } of spells) {
		context.fillStyle = look[state] ?? look.occluded;
		const tall = Math.max(2, height * (SHARES[state] ?? 0.35));
		context.fillRect(x(from), height - tall, Math.max(1.5, x(to) - x(from)), tall);
	}
}

function describe(entry, now) {
	const seconds = {};
	for (const { state, from, to } of entry.spells) seconds[state] = (seconds[state] ?? 0) + (to - Math.max(from, now - SPAN_MS)) / 1000;
	const parts = Object.entries(seconds).map(([state, time]) => `${state} ${duration(time)}`);
	return `Object ${entry.id} ${entry.label}`.trim() + `, last ten minutes: ${parts.join(", ")}`;
}

const duration = (seconds) => seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;

function showMarks(row, marks, now) {
	reconcile(row.marks, row.shown, marks, (mark) => ({ element: makeMark(mark) }));
	for (const [mark, { element }] of row.shown) element.style.left = `${100 * (1 - (now - mark.at) / SPAN_MS)}%`;
}

function makeMark(mark) {
	const time = new Date(mark.at).toLocaleTimeString([], { hour12: false });
	const element = makeButton("", null, { class: "mark", "data-level": mark.level, "aria-label": `${time} ${mark.text}` });
	element.onfocus = element.onmouseenter = () => showCard(mark, time);
	element.onblur = element.onmouseleave = hideCard;
	return element;
}

function showCard(mark, time) {
	const card = find("#timeline-card");
	card.replaceChildren(...(mark.picture ? [mark.picture] : []), make("span", {}, `${time}  ${mark.text}`));
}

function hideCard() {
	find("#timeline-card").replaceChildren("Height and color of a bar: tracked, uncertain, occluded, lost, suspended. Dots are events.");
}

/** Tracked objects first, the newest first; the stream itself last. */
function inOrder(ids) {
	const followed = (id) => objectOf(id) ? 1 : 0;
	return ids.sort((one, other) => (one === null) - (other === null) || followed(other) - followed(one) || other - one);
}

function show() {
	const hidden = store.stream === null || store.grid;
	details.hidden = hidden;
	if (hidden || !details.open) return;
	const now = Date.now();
	const record = recordOf(store.stream);
	const look = readColors(list);
	const marksOf = (id) => record.marks.filter((mark) => mark.object === id && mark.at > now - SPAN_MS);
	const ids = inOrder([...new Set([...record.objects.keys(), ...record.marks.map((mark) => mark.object)])]);
	reconcile(list, rows, ids, makeRow);
	for (const id of ids) {
		const row = rows.get(id);
		const entry = record.objects.get(id);
		if (id !== null) setText(row.name, `${id} ${entry?.label ?? ""}`.trim());
		row.name.style.borderLeftColor = entry?.color ?? "";
		if (row.name.tagName === "BUTTON") row.name.disabled = !objectOf(id);
		drawBar(row, entry?.spells ?? [], now, look);
		row.bar.setAttribute("aria-label", entry ? describe(entry, now) : "no states");
		showMarks(row, marksOf(id), now);
	}
	find("#timeline-empty").hidden = ids.length > 0;
}

export function initTimeline() {
	const showSoon = throttle(PERIOD_MS, show);
	on("frame", showSoon);
	on("stream grid", () => { reconcile(list, rows, []); show(); });
	details.ontoggle = show;
	hideCard();
	setInterval(() => document.hidden || showSoon(), PERIOD_MS);
}

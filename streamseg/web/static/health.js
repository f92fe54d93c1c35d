// The state of the shown stream and of the daemon: one sentence, and the figures behind it.

import { find, make, setText } from "./dom.js";
import { on, store } from "./store.js";

const LATE_MS = 300;
const OLD_MS = 1000;
const summary = find("#health-summary");
const section = find("#health-section");

/** The sentence of the daemon, and how bad it is. */
function diagnose(status, screenMs) {
	if (!status) return ["Waiting for the first status of this stream.", "warn"];
	const { text, level } = status.health;
	if (level || !screenMs) return [text, level];
	if (screenMs > OLD_MS) return [`The picture is ${(screenMs / 1000).toFixed(1)} s old: the network or this computer is slow.`, "warn"];
	return [text.replace(/\.$/, `, ${Math.round(screenMs)} ms from capture to screen.`), ""];
}

function diagnoseAll() {
	for (const stream of store.streams) {
		const [sentence, level] = diagnose(store.statuses.get(stream), null);
		if (level) return [`${stream}: ${sentence}`, level];
	}
	return [`All good: ${store.streams.length} streams.`, ""];
}

function show() {
	const status = store.statuses.get(store.stream);
	const screenMs = store.frame?.screen_ms;
	const [sentence, level] = store.grid ? diagnoseAll() : diagnose(status, screenMs);
	const lost = store.connection === "lost" || store.connection === "silent";
	section.toggleAttribute("data-problem", level !== "" && !lost); // without a connection nothing is known
	summary.hidden = level === "" || lost;
	setText(summary, sentence);
	summary.dataset.level = level;
	setText(find("#health-good"), lost ? "unknown" : level ? "" : sentence.replace("All good: ", "all good, "));
	if (status && section.querySelector("details").open) showFigures(status.health, screenMs);
}

function showFigures({ figures }, screenMs) {
	const screen = ["capture to screen", screenMs ? `${Math.round(screenMs)} ms` : "–", screenMs > OLD_MS ? "bad" : screenMs > LATE_MS ? "warn" : ""];
	find("#health").replaceChildren(...[screen, ...figures].flatMap(([name, value, level]) => [make("dt", {}, name), make("dd", { "data-level": level }, value)]));
}

export function initHealth() {
	section.querySelector("details").ontoggle = show;
	on("statuses daemon stream grid connection", show);
}

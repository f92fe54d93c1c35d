// Whether what the page shows is live. What is not is dimmed and says why.

import { find, setText } from "./dom.js";
import { on, store } from "./store.js";

const CHECK_MS = 500;
/** A picture may be late by this, or by this many of its stream's periods. */
const LATE_MS = 3000;
const LATE_PERIODS = 4;
let reason = "";
let pictureAt = null;

const live = (notice = "") => ({ text: "live", state: "live", notice });
const stale = (text, state, notice) => ({ text, state, notice, stale: true });

/** Whether the newest picture, which came at this time, is older than it should be. */
export const isLate = (at, status) => at !== null
	&& performance.now() - at > Math.max(LATE_MS, status?.fps_in ? LATE_PERIODS * 1000 / status.fps_in : 0);

/** What is wrong: `text` and `state` are for the header, `notice` goes over the picture. */
function judge() {
	const { connection, frame, daemon, streams } = store;
	if (connection === "connecting") return stale("connecting", "connecting", "");
	if (connection === "lost") {
		return stale("connection lost", "lost",
			`${reason || "The connection to the daemon is lost."} Reconnecting; if this takes long, check whether the daemon runs.`);
	}
	if (connection === "silent") {
		return stale("no response", "silent", "The daemon has sent nothing for three seconds. It recovers by itself; this page waits.");
	}
	if (daemon && !streams.length) return live("There is no camera yet: press Add camera.");
	if (store.grid) return live();
	const status = store.statuses.get(store.stream);
	if (status && status.state !== "streaming") {
		return stale(status.state, status.state === "ended" ? "connecting" : "lost", status.health.text);
	}
	if (!frame) return live("Waiting for the first picture.");
	if (isLate(pictureAt, status)) {
		const seconds = Math.round((performance.now() - pictureAt) / 1000);
		return stale("no new picture", "silent", `No new picture for ${seconds} s. It goes on by itself as soon as there is one.`);
	}
	return live();
}

function show() {
	const { text, notice, stale = false, state } = judge();
	const element = find("#connection");
	element.dataset.state = state;
	setText(element, text);
	document.body.toggleAttribute("data-stale", stale);
	const box = find("#notice");
	box.hidden = notice === "";
	setText(box, notice);
}

/** Why the daemon closed the connection, if it said so. */
export function setReason(text) {
	reason = text;
	show();
}

export function initFreshness() {
	on("frame", () => { pictureAt = store.frame ? performance.now() : null; });
	on("connection", () => { if (store.connection === "live") pictureAt = null; });
	on("connection streams statuses stream frame grid", show);
	setInterval(show, CHECK_MS);
}

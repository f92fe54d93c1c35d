// Whether what the page shows is live: the connection of this page, the camera, and the newest picture. What is not live
// is dimmed and says why.

import { find, setText } from "./dom.js";
import { on, store } from "./store.js";

const STATE_TEXT = { connecting: "connecting", live: "live", silent: "no response", lost: "connection lost" };
const CHECK_MS = 500;
/** A picture may be late by this, or by this many of its stream's periods. */
const LATE_MS = 3000;
const LATE_PERIODS = 4;
let reason = "";
let pictureAt = null;

/** What is wrong: { text, notice, stale }; `text` is for the header, `notice` goes over the picture. */
function judge() {
  const { connection, frame } = store;
  const status = store.statuses.get(store.stream);
  if (connection === "lost") {
    return { text: STATE_TEXT.lost, stale: true, state: "lost",
      notice: `${reason || "The connection to the daemon is lost."} Reconnecting; if this takes long, check whether the daemon runs.` };
  }
  if (connection === "silent") {
    return { text: STATE_TEXT.silent, stale: true, state: "silent",
      notice: "The daemon has sent nothing for three seconds. It recovers by itself; this page waits." };
  }
  if (connection === "connecting") return { text: STATE_TEXT.connecting, stale: true, state: connection, notice: "" };
  if (!store.streams.length && store.daemon) {
    return { text: STATE_TEXT.live, stale: false, state: "live", notice: "There is no camera yet: press Add camera." };
  }
  if (store.grid) return { text: STATE_TEXT.live, stale: false, state: "live", notice: "" };
  if (status && status.state !== "streaming") {
    const error = status.last_error ? `: ${status.last_error.replace(/\.$/, "")}` : "";
    return { text: status.state, stale: true, state: status.state === "ended" ? "connecting" : "lost", notice: `The source is ${status.state}${error}.` };
  }
  if (!frame) return { text: STATE_TEXT.live, stale: false, state: "live", notice: "Waiting for the first picture." };
  const late = Math.max(LATE_MS, status?.fps_in ? LATE_PERIODS * 1000 / status.fps_in : 0);
  if (pictureAt !== null && performance.now() - pictureAt > late) {
    return { text: "no new picture", stale: true, state: "silent",
      notice: `No new picture for ${Math.round((performance.now() - pictureAt) / 1000)} s. It goes on by itself as soon as there is one.` };
  }
  return { text: STATE_TEXT.live, stale: false, state: "live", notice: "" };
}

function show() {
  const { text, notice, stale, state } = judge();
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

/** Observe the store. */
export function initFreshness() {
  on("frame", () => { pictureAt = store.frame ? performance.now() : null; });
  on("connection", () => { if (store.connection === "live") pictureAt = null; });
  on("connection streams statuses stream frame grid", show);
  setInterval(show, CHECK_MS);
}

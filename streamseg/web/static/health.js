// The state of the shown stream and of the daemon.

import { find, make, setText } from "./dom.js";
import { on, store } from "./store.js";

const list = find("#health");
const drops = find("#drops");
/** Name -> element of the value. */
const rows = new Map();

for (const name of ["source", "frames/s in", "frames/s out", "capture to screen", "… decode", "… track", "… publish",
  "frames repeated", "picture", "reconnects", "last error", "process restarts", "running for"]) {
  rows.set(name, make("dd", {}, "–"));
  list.append(make("dt", {}, name), rows.get(name));
}

function row(name, text, level = "") {
  setText(rows.get(name), text);
  rows.get(name).dataset.level = level;
}

const ms = (value) => value === undefined || value === null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
const bad = (state) => ({ streaming: "", reconnecting: "bad", failed: "bad" })[state] ?? "warn";

function show() {
  const status = store.statuses.get(store.stream);
  if (status) {
    const { latency_ms: latency } = status;
    row("source", status.state, bad(status.state));
    row("frames/s in", status.fps_in.toFixed(1));
    row("frames/s out", status.fps_out.toFixed(1), status.fps_out < status.fps_in * 0.6 ? "warn" : "");
    const screen = store.frame?.screen_ms;
    row("capture to screen", ms(screen), screen > 1000 ? "bad" : screen > 300 ? "warn" : "");
    for (const stage of ["decode", "track", "publish"]) row(`… ${stage}`, ms(latency[stage]));
    row("frames repeated", String(status.repeated));
    row("picture", status.size[0] ? `${status.size.join(" × ")}` : "–");
    row("reconnects", String(status.reconnects), status.reconnects ? "warn" : "");
    row("last error", status.last_error || "none", status.last_error ? "bad" : "");
    showDrops(status.drops);
  }
  const { daemon } = store;
  if (daemon) {
    const restarts = Object.values(daemon.restarts).reduce((sum, count) => sum + count, 0);
    row("process restarts", String(restarts), restarts ? "warn" : "");
    row("running for", duration(daemon.uptime_s));
  }
}

/** Stage and reason in words. A loss at stage `image` concerns only the picture; the masks of the frame were published. */
function stageAndReason(name) {
  const [stage, reason] = name.split("/");
  return [stage === "image" ? "picture only" : stage, reason.replaceAll("_", " ")];
}

function showDrops(counts) {
  const body = drops.tBodies[0];
  const lines = Object.entries(counts).map(([name, count]) => [...stageAndReason(name), String(count)]);
  drops.hidden = lines.length === 0;
  const newRows = lines.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  body.replaceChildren(...newRows);
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** Observe the store. */
export function initHealth() {
  on("statuses daemon stream", show);
}

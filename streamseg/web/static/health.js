// The state of the shown stream and of the daemon: one sentence, and the figures behind it.

import { find, make, setText } from "./dom.js";
import { on, store } from "./store.js";

const OLD_MS = 1000;
const SLOW_SHARE = 0.6;
const summary = find("#health-summary");
const section = find("#health-section");
const list = find("#health");
const drops = find("#drops");
/** Name -> element of the value. */
const rows = new Map();

const REASONS = {
  superseded: "a newer one was ready", no_slot: "all buffers were in use", abandoned: "the worker restarted",
  queue_full: "the publisher was busy", invalid: "a mask could not be encoded", slow: "a newer one was ready",
  not_shared: "the encoder was busy", error: "the encoder failed",
};

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
const levelOf = (state) => ({ streaming: "", reconnecting: "bad", failed: "bad" })[state] ?? "warn";

/** The sentence, and how bad it is: what is wrong and what to do, or that all is well. */
function diagnose(status, daemon, screenMs) {
  const waiting = Object.entries(daemon?.processes ?? {}).find(([, state]) => state !== "ready");
  if (!status) return ["Waiting for the first status of this stream.", "warn"];
  if (status.state === "failed") return [`The source failed${reason(status)}. Check its address.`, "bad"];
  if (status.state === "reconnecting") return [`The source is lost${reason(status)}. It is reconnected by itself; check power and network.`, "bad"];
  if (status.state === "ended") return ["The source has ended.", "warn"];
  if (status.state !== "streaming") return [`The source is ${status.state}.`, "warn"];
  if (waiting) return [`The ${waiting[0]} process is ${waiting[1]}. It recovers by itself.`, "warn"];
  if (status.no_masks_s) return [`No masks for ${Math.round(status.no_masks_s)} s although frames come. A worker that hangs is restarted by itself.`, "bad"];
  if (status.paused) return ["Tracking is paused: press Resume.", "warn"];
  if (status.fps_out < status.fps_in * SLOW_SHARE) {
    return [`Only ${status.fps_out.toFixed(0)} of ${status.fps_in.toFixed(0)} frames/s get masks: use a smaller model or fewer objects.`, "warn"];
  }
  if (screenMs > OLD_MS) return [`The picture is ${(screenMs / 1000).toFixed(1)} s old: the network or this computer is slow.`, "warn"];
  const age = screenMs ? `, ${ms(screenMs)} from capture to screen` : "";
  return [`All good: ${status.fps_out.toFixed(0)} frames/s${age}.`, ""];
}

/** The sentence for the grid: that of the first stream with a problem. */
function diagnoseAll() {
  for (const stream of store.streams) {
    const [sentence, level] = diagnose(store.statuses.get(stream), store.daemon, null);
    if (level) return [`${stream}: ${sentence}`, level];
  }
  return [`All good: ${store.streams.length} streams.`, ""];
}

const reason = (status) => status.last_error ? `: ${status.last_error.replace(/\.$/, "")}` : "";

function show() {
  const { daemon } = store;
  const status = store.statuses.get(store.stream);
  const screenMs = store.frame?.screen_ms;
  const [sentence, level] = store.grid ? diagnoseAll() : diagnose(status, daemon, screenMs);
  const lost = store.connection === "lost" || store.connection === "silent";
  section.toggleAttribute("data-problem", level !== "" && !lost); // without a connection nothing is known
  summary.hidden = level === "" || lost;
  setText(summary, sentence);
  summary.dataset.level = level;
  setText(find("#health-good"), lost ? "unknown" : level ? "" : sentence.replace("All good: ", "all good, "));
  if (status) {
    const { latency_ms: latency } = status;
    row("source", status.state, levelOf(status.state));
    row("frames/s in", status.fps_in.toFixed(1));
    row("frames/s out", status.fps_out.toFixed(1), status.fps_out < status.fps_in * SLOW_SHARE ? "warn" : "");
    row("capture to screen", ms(screenMs), screenMs > OLD_MS ? "bad" : screenMs > 300 ? "warn" : "");
    for (const stage of ["decode", "track", "publish"]) row(`… ${stage}`, ms(latency[stage]));
    row("frames repeated", String(status.repeated));
    row("picture", status.size[0] ? status.size.join(" × ") : "–");
    row("reconnects", String(status.reconnects), status.reconnects ? "warn" : "");
    row("last error", status.last_error || "none", status.last_error ? "bad" : "");
    showDrops(status.drops);
  }
  if (daemon) {
    const restarts = Object.values(daemon.restarts).reduce((sum, count) => sum + count, 0);
    row("process restarts", String(restarts), restarts ? "warn" : "");
    row("running for", duration(daemon.uptime_s));
  }
}

/** What was lost and why, in words. A loss at stage `image` concerns only the picture; the frame's masks were published. */
function inWords(name) {
  const [stage, cause] = name.split("/");
  return [stage === "image" ? "picture" : "frame", REASONS[cause] ?? cause.replaceAll("_", " ")];
}

function showDrops(counts) {
  const lines = Object.entries(counts).map(([name, count]) => [...inWords(name), String(count)]);
  drops.hidden = lines.length === 0;
  drops.tBodies[0].replaceChildren(...lines.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell)))));
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** Observe the store. */
export function initHealth() {
  on("statuses daemon stream grid connection", show);
}

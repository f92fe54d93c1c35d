// Events as they happen, newest first.

import { find, make } from "./dom.js";

const list = find("#events");
const MOST = 60;

const WORDS = {
  object_added: "is followed", object_appeared: "is seen", object_occluded: "is no longer seen",
  object_lost: "is lost", object_removed: "is no longer followed", prompt_rejected: "prompt rejected",
  stream_connected: "connected", stream_reconnecting: "reconnecting", stream_ended: "ended", stream_failed: "failed",
  tracker_reset: "all objects forgotten", worker_restarted: "worker restarted",
  capture_restarted: "capture restarted", publisher_restarted: "publisher restarted", web_restarted: "page server restarted",
};
const LEVELS = {
  object_appeared: "good", stream_connected: "good", object_occluded: "warn", object_lost: "bad",
  prompt_rejected: "bad", stream_reconnecting: "bad", stream_failed: "bad", worker_restarted: "bad",
  capture_restarted: "bad", publisher_restarted: "bad",
  connection_lost: "bad", connection_back: "good",
};

const seen = new Set();

/** Add an event; one that was told before, by the connection before, is not told again. */
export function addEvent(event) {
  const key = `${event.stream} ${event.kind} ${event.t_wall_ms} ${event.object}`;
  if (seen.has(key)) return;
  seen.add(key);
  if (seen.size > 10 * MOST) seen.delete(seen.values().next().value);
  const who = event.object === null ? "" : `${event.object} ${event.label}`.trim();
  const words = [event.stream === "_daemon" ? "" : `${event.stream}:`, who, WORDS[event.kind] ?? event.kind.replaceAll("_", " ")];
  const detail = event.detail ? ` (${event.detail})` : "";
  const time = new Date(event.t_wall_ms);
  const line = make("li", {},
    make("time", { datetime: time.toISOString() }, time.toLocaleTimeString([], { hour12: false })),
    make("span", { "data-level": LEVELS[event.kind] ?? "" }, words.filter(Boolean).join(" ") + detail));
  list.prepend(line);
  while (list.children.length > MOST) list.lastElementChild.remove();
}

// The list of events, newest first.

import { find, make } from "./dom.js";

const list = find("#events");
const MAX_SHOWN = 60;

const TEXTS = {
  object_added: "added", object_appeared: "visible", object_uncertain: "mask uncertain", object_certain: "mask certain again", object_occluded: "hidden", object_suspended: "not tracked: overload", object_resumed: "tracked again",
  object_lost: "lost", object_removed: "removed", object_restarted: "started again", prompt_rejected: "prompt rejected",
  stream_connected: "connected", stream_reconnecting: "reconnecting", stream_ended: "ended", stream_failed: "failed",
  tracker_reset: "all objects removed", restored: "tracked on after a restart", worker_restarted: "worker restarted",
  tracking_failed: "tracking failed", subscriber_dropped: "subscriber disconnected",
  capture_restarted: "capture restarted", publisher_restarted: "publisher restarted", web_restarted: "page server restarted",
};
const LEVELS = {
  object_appeared: "good", object_uncertain: "warn", object_certain: "good", object_restarted: "good", restored: "good", stream_connected: "good", object_occluded: "warn", object_suspended: "warn", object_resumed: "good", object_lost: "bad",
  prompt_rejected: "bad", stream_reconnecting: "bad", stream_failed: "bad", worker_restarted: "bad",
  capture_restarted: "bad", publisher_restarted: "bad", tracking_failed: "bad", subscriber_dropped: "bad",
  connection_lost: "bad", connection_restored: "good",
};

const seen = new Set();

/** An event in words, and how good or bad it is. */
export function describeEvent({ kind, object, label, detail }) {
  const name = object === null ? "" : `${object} ${label}`.trim();
  const what = TEXTS[kind] ?? kind.replaceAll("_", " ");
  return { text: `${name} ${what}`.trim() + (detail ? ` (${detail})` : ""), level: LEVELS[kind] ?? "" };
}


/** Add an event, unless it was already received before the page reconnected; return whether it is new. */
export function addEvent(event) {
  const key = `${event.stream} ${event.kind} ${event.t_wall_ms} ${event.object}`;
  if (seen.has(key)) return false;
  seen.add(key);
  if (seen.size > 10 * MAX_SHOWN) seen.delete(seen.values().next().value);
  const { text, level } = describeEvent(event);
  const where = event.stream === "_daemon" ? "" : `${event.stream}: `;
  const time = new Date(event.t_wall_ms);
  const line = make("li", {},
    make("time", { datetime: time.toISOString() }, time.toLocaleTimeString([], { hour12: false })),
    make("span", { "data-level": level }, where + text));
  list.prepend(line);
  while (list.children.length > MAX_SHOWN) list.lastElementChild.remove();
  return true;
}

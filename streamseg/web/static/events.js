// The list of events, newest first.

import { find, make } from "./dom.js";

const list = find("#events");
const MAX_SHOWN = 60;

/** What happened, where the name of the event does not say it well. */
const TEXTS = {
  object_appeared: "visible", object_uncertain: "mask uncertain", object_certain: "mask certain again", object_occluded: "hidden",
  object_suspended: "not tracked: overload", object_resumed: "tracked again", object_restarted: "started again",
  object_retired: "no longer tracked", restored: "tracked on after a restart",
  subscriber_dropped: "subscriber disconnected", web_restarted: "page server restarted",
};
const LEVELS = {
  good: ["object_appeared", "object_certain", "object_restarted", "object_resumed", "restored", "stream_connected", "connection_restored"],
  warn: ["object_uncertain", "object_occluded", "object_suspended"],
  bad: ["object_lost", "prompt_rejected", "stream_reconnecting", "stream_failed", "tracking_failed", "subscriber_dropped", "connection_lost",
    "recording_stopped", "worker_restarted", "capture_restarted", "publisher_restarted", "recorder_restarted",
    "prompter_restarted", "prompter_failed"],
};

const seen = new Set();

/** An event in words, and how good or bad it is. */
export function describeEvent({ kind, object, objects, label, detail }) {
  const ids = object === null ? objects?.join(", ") ?? "" : `${object} ${label}`;
  const what = TEXTS[kind] ?? kind.replace(/^(object|stream)_/, "").replaceAll("_", " ");
  const level = Object.keys(LEVELS).find((name) => LEVELS[name].includes(kind)) ?? "";
  return { text: `${ids.trim()} ${what}`.trim() + (detail ? ` (${detail})` : ""), level };
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

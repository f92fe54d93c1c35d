// The list of events, newest first.

import { find, make } from "./dom.js";

const list = find("#events");
const MAX_SHOWN = 60;
const seen = new Set();

/** Add an event; return whether it is new, and not one that came before a reconnect. */
export function addEvent({ stream, kind, t_wall_ms: at, object, text, level }) {
	const key = `${stream} ${kind} ${at} ${object}`;
	if (seen.has(key)) return false;
	seen.add(key);
	if (seen.size > 10 * MAX_SHOWN) seen.delete(seen.values().next().value);
	const where = stream === "_daemon" ? "" : `${stream}: `;
	const time = new Date(at);
	const line = make("li", {},
		make("time", { datetime: time.toISOString() }, time.toLocaleTimeString([], { hour12: false })),
		make("span", { "data-level": level }, where + text));
	list.prepend(line);
	while (list.children.length > MAX_SHOWN) list.lastElementChild.remove();
	return true;
}

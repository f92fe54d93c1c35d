// Creates and updates elements. Names from cameras and users are always text, never HTML.

const COPIED_MS = 2500;

/** Create an element: `make("li", { class: "object" }, "text", child)`. */
export function make(tag, attributes = {}, ...children) {
	const svg = ["svg", "polyline"].includes(tag);
	const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (value !== null && value !== undefined) element.setAttribute(name, value);
	}
	element.append(...children);
	return element;
}

/** A button that calls `press`; it has a text or, with an `aria-label` among the attributes, a sign. */
export function makeButton(text, press, attributes = {}) {
	const button = make("button", { type: "button", ...attributes }, text);
	button.onclick = press;
	return button;
}

export const find = (selector) => document.querySelector(selector);

/** Set the text of an element only if it differs, so that screen readers do not repeat it. */
export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

/** The elements with these ids, by id in camel case. */
export const findAll = (ids) => Object.fromEntries(ids.split(" ").map((id) =>
	[id.replaceAll(/-(.)/g, (_, letter) => letter.toUpperCase()), document.getElementById(id)]));

export const setPressed = (button, on) => button.setAttribute("aria-pressed", String(on));

/**
 * Give `rows`, key -> { element }, exactly these keys, and `list` their elements in this order. An element that is moved
 * loses focus and a click that began on it, so one that goes down is moved, not all those after it.
 */
export function reconcile(list, rows, keys, makeRow) {
	for (const [key, { element }] of rows) {
		if (keys.includes(key)) continue;
		element.remove();
		rows.delete(key);
	}
	keys.forEach((key, index) => {
		if (!rows.has(key)) rows.set(key, makeRow(key));
		const { element } = rows.get(key), there = list.children[index] ?? null;
		if (there === element) return;
		if (there && there.nextElementSibling === element) list.append(there); // it finds its place later
		else list.insertBefore(element, there);
	});
}

/** Copy a text, and say so on the button. There is no clipboard without HTTPS: then `source` is selected. */
export async function copyText(button, text, source = null) {
	button.dataset.label ??= button.textContent;
	let outcome = "Copied";
	try { await navigator.clipboard.writeText(text); } catch {
		outcome = source ? "Selected: press Ctrl C" : "Needs HTTPS";
		if (source) getSelection().selectAllChildren(source);
	}
	setText(button, outcome);
	setTimeout(() => setText(button, button.dataset.label), COPIED_MS);
}

/** Call `callback` at most once every `periodMs`; the last call is never dropped. */
export function throttle(periodMs, callback) {
	let timer = null;
	let last = 0;
	return () => {
		if (timer !== null) return;
		const delay = Math.max(0, last + periodMs - performance.now());
		timer = setTimeout(() => { timer = null; last = performance.now(); callback(); }, delay);
	};
}

// Make elements without markup in strings: what comes from a camera's owner is text, never HTML.

/** Return an element: `make("li", { class: "object" }, "text", child)`. */
export function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "polyline"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const find = (selector) => document.querySelector(selector);

/** Set text only where it differs, so that a screen reader is not told the same again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Run `work` at most every `pause` ms, the last call included. */
export function atMostEvery(pause, work) {
  let timer = null;
  let last = 0;
  return () => {
    if (timer !== null) return;
    timer = setTimeout(() => { timer = null; last = performance.now(); work(); }, Math.max(0, last + pause - performance.now()));
  };
}

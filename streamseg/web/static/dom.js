// Creates and updates elements. Names from cameras and users are always text, never HTML.

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

export const find = (selector) => document.querySelector(selector);

/** Set the text of an element only if it differs, so that screen readers do not repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
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

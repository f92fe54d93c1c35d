// Everything by keyboard: keys of the page, and a cross on the picture that clicks where it is.

import { remove, select, togglePause, undo } from "./actions.js";
import { find } from "./dom.js";
import { box, click } from "./pointer.js";
import { change, hold, letGo } from "./stage.js";
import { store, update } from "./store.js";

const STEP = 0.02;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Listen to the page's keys. `watch(id)` shows another stream, `armReset()` is the reset button. */
export function listenToKeys({ watch, armReset }) {
  const neighbour = (by) => {
    const at = store.order.indexOf(store.watched);
    if (store.order.length > 1) watch(store.order[(at + by + store.order.length) % store.order.length]);
  };
  const keys = {
    n: () => select(null),
    Escape: () => select(null),
    m: () => update({ negative: !store.negative }),
    u: undo,
    Delete: () => remove(store.selected),
    Backspace: () => remove(store.selected),
    e: () => find(`.object[data-id="${store.selected}"] input`)?.focus(),
    p: togglePause,
    r: armReset,
    "[": () => neighbour(-1),
    "]": () => neighbour(1),
    "?": () => find("#help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, dialog")) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") {
      event.preventDefault();
      undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const number = Number(event.key);
    const work = number >= 1 ? () => selectNth(number) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!work) return;
    event.preventDefault();
    work();
  });
}

function selectNth(number) {
  const object = store.shown?.objects[number - 1];
  if (object) select(object.id);
}

/** Let arrows move a cross on the picture; Enter clicks there, B sets the corners of a box. */
export function listenToCross(canvas) {
  let cross = null;
  let corner = null;
  let held = null;

  const leave = () => {
    cross = corner = held = null;
    change({ cross, corner });
    letGo();
  };
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (ARROWS[event.key]) {
      const [x, y] = ARROWS[event.key];
      const step = event.shiftKey ? STEP / 4 : STEP;
      cross ??= [0.5, 0.5];
      cross = [clamp(cross[0] + x * step), clamp(cross[1] + y * step)];
    } else if (event.key === "Enter" && cross && store.shown) {
      click(cross, event.shiftKey || store.negative ? 0 : 1, store.shown);
    } else if (event.key.toLowerCase() === "b" && cross && store.shown) {
      if (corner) {
        box(corner, cross, held);
        corner = held = null;
        letGo();
      } else {
        hold();
        [corner, held] = [cross, store.shown];
      }
    } else {
      if (event.key === "Escape") leave();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    change({ cross, corner });
  });
}

const clamp = (value) => Math.min(1, Math.max(0, value));

// Mouse, pen and fingers on the picture: clicks, boxes, and what takes away.

import { mark } from "./actions.js";
import { change, hold, letGo, showClick } from "./stage.js";
import { store } from "./store.js";

const DRAG_PX = 8;
const LONG_PRESS_MS = 550;

/** Listen on the canvas that lies over the picture. */
export function listenToPointer(canvas) {
  let press = null;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const share = (value, size) => Math.min(1, Math.max(0, value / size));
    return [share(event.clientX - box.left, box.width), share(event.clientY - box.top, box.height)];
  };

  const end = () => {
    clearTimeout(press?.timer);
    press = null;
    letGo();
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (press) { end(); return; } // a second finger: no mark
    if (event.button !== 0 || !store.shown) return;
    canvas.setPointerCapture(event.pointerId);
    hold(); // the mark belongs to the picture that is seen now
    press = { id: event.pointerId, start: at(event), client: [event.clientX, event.clientY], header: store.shown, dragged: false };
    if (event.pointerType !== "mouse") {
      const pressed = press;
      press.timer = setTimeout(() => {
        if (press === pressed && !press.dragged) { click(press.start, 0, press.header); end(); }
      }, LONG_PRESS_MS);
    }
  });

  canvas.addEventListener("pointermove", (event) => {
    if (press?.id !== event.pointerId) return;
    const moved = Math.hypot(event.clientX - press.client[0], event.clientY - press.client[1]);
    press.dragged ||= moved > DRAG_PX;
    if (press.dragged) change({ box: ordered(press.start, at(event)) });
  });

  canvas.addEventListener("pointerup", (event) => {
    if (press?.id !== event.pointerId) return;
    const { start, dragged, header } = press;
    end();
    if (dragged) box(start, at(event), header);
    else click(start, event.shiftKey || store.negative ? 0 : 1, header);
  });

  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("contextmenu", (event) => {
    event.preventDefault(); // also what a long press of a finger brings, which was handled above
    if (event.pointerType === "touch" || !store.shown || event.button !== 2) return;
    click(at(event), 0, store.shown);
  });
}

/** Mark a point: label 1 is on the object, 0 is off. */
export function click([x, y], label, header) {
  showClick(x, y, label);
  mark({ points: [[x, y, label]] }, header);
}

/** Mark a box between two corners. */
export function box(one, other, header) {
  const [x0, y0, x1, y1] = ordered(one, other);
  if (x1 > x0 && y1 > y0) mark({ box: [x0, y0, x1, y1] }, header);
}

function ordered([x0, y0], [x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

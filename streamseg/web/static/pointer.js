// Mouse, pen and touch on the picture: clicks, boxes and negative clicks.

import { sendPrompt } from "./actions.js";
import { freeze, unfreeze, updateOverlay, showClick } from "./viewer.js";
import { store } from "./store.js";

const DRAG_PX = 8;
const LONG_PRESS_MS = 550;

/** Listen on the canvas over the picture. */
export function initPointer(canvas) {
  let press = null;

  const position = (event) => {
    const box = canvas.getBoundingClientRect();
    const fraction = (value, size) => Math.min(1, Math.max(0, value / size));
    return [fraction(event.clientX - box.left, box.width), fraction(event.clientY - box.top, box.height)];
  };

  const end = () => {
    clearTimeout(press?.timer);
    press = null;
    unfreeze();
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (press) { end(); return; } // a second finger cancels the first
    if (event.button !== 0 || !store.frame) return;
    canvas.setPointerCapture(event.pointerId);
    freeze(); // the prompt belongs to the picture on the screen
    press = { id: event.pointerId, start: position(event), client: [event.clientX, event.clientY], header: store.frame, dragged: false };
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
    if (press.dragged) updateOverlay({ box: ordered(press.start, position(event)) });
  });

  canvas.addEventListener("pointerup", (event) => {
    if (press?.id !== event.pointerId) return;
    const { start, dragged, header } = press;
    end();
    if (dragged) box(start, position(event), header);
    else click(start, event.shiftKey || store.negative ? 0 : 1, header);
  });

  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("contextmenu", (event) => {
    event.preventDefault(); // a long press also fires this event
    if (event.pointerType === "touch" || !store.frame || event.button !== 2) return;
    click(position(event), 0, store.frame);
  });
}

/** Prompt with a point: label 1 is on the object, 0 is off. */
export function click([x, y], label, header) {
  showClick(x, y, label);
  sendPrompt({ points: [[x, y, label]] }, header);
}

/** Prompt with a box between two corners. */
export function box(first, second, header) {
  const [x0, y0, x1, y1] = ordered(first, second);
  if (x1 > x0 && y1 > y0) sendPrompt({ box: [x0, y0, x1, y1] }, header);
}

function ordered([x0, y0], [x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

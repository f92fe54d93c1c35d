// Keyboard shortcuts of the page, and a crosshair on the picture that clicks without a mouse.

import { redo, remove, select, togglePause, undo } from "./actions.js";
import { saveSnapshot } from "./capture.js";
import { nextCandidate } from "./candidates.js";
import { find } from "./dom.js";
import { box, click, clickOrSelect } from "./pointer.js";
import { clearPreview, previewAt } from "./preview.js";
import { cancelDrawing } from "./regions.js";
import { freeze, objectUnder, unfreeze, updateOverlay } from "./viewer.js";
import { store, update } from "./store.js";
import { nextEffect, toggleFullscreen } from "./view_menu.js";
import { resetZoom, zoomAt } from "./zoom.js";

const STEP = 0.02;
const KEY_ZOOM = 1.5;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Listen for shortcuts. `showStream(id)` shows another stream, `confirmReset()` is the reset button. */
export function initKeyboard({ showStream, confirmReset }) {
  const stepStream = (step) => {
    const { streams, stream } = store;
    if (streams.length > 1) showStream(streams[(streams.indexOf(stream) + step + streams.length) % streams.length]);
  };
  const keys = {
    n: () => select(null),
    Escape: () => store.drawing ? cancelDrawing() : select(null),
    m: () => update({ negative: !store.negative }),
    u: undo,
    y: redo,
    Delete: () => remove(store.selected),
    Backspace: () => remove(store.selected),
    c: nextCandidate,
    e: () => find(`.object[data-id="${store.selected}"] input`)?.focus(),
    p: togglePause,
    r: confirmReset,
    "[": () => stepStream(-1),
    "]": () => stepStream(1),
    f: toggleFullscreen,
    l: () => update({ labels: !store.labels }),
    t: () => update({ trails: !store.trails }),
    v: nextEffect,
    g: () => update({ grid: !store.grid }),
    s: saveSnapshot,
    "+": () => zoomAt([0.5, 0.5], KEY_ZOOM),
    "=": () => zoomAt([0.5, 0.5], KEY_ZOOM),
    "-": () => zoomAt([0.5, 0.5], 1 / KEY_ZOOM),
    0: resetZoom,
    "?": () => find("#help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.target.closest('input:not([type="range"]), select, dialog')) return;
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && (key === "z" || key === "y")) {
      event.preventDefault();
      if (key === "y" || event.shiftKey) redo();
      else undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const number = Number(event.key);
    const action = number >= 1 ? () => selectNth(number) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function selectNth(number) {
  const object = store.frame?.objects[number - 1];
  if (object) select(object.id);
}

/** Arrow keys move a crosshair over the picture; Enter clicks there, B sets the corners of a box. */
export function initCrosshair(canvas) {
  let crosshair = null;
  let corner = null;
  let cornerFrame = null;

  const clear = () => {
    if (crosshair) clearPreview();
    crosshair = corner = cornerFrame = null;
    updateOverlay({ crosshair, corner });
    unfreeze();
  };
  canvas.addEventListener("blur", clear);
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (ARROWS[event.key]) {
      const [x, y] = ARROWS[event.key];
      const step = event.shiftKey ? STEP / 4 : STEP;
      crosshair ??= [0.5, 0.5];
      crosshair = [clamp(crosshair[0] + x * step), clamp(crosshair[1] + y * step)];
      if (objectUnder(crosshair) === null) previewAt(crosshair, store.negative && store.selected !== null ? 0 : 1);
      else clearPreview();
    } else if (event.key === "Enter" && crosshair && store.frame) {
      if (event.shiftKey || store.negative) click(crosshair, 0, store.frame);
      else clickOrSelect(crosshair, store.frame);
    } else if (event.key.toLowerCase() === "b" && crosshair && store.frame) {
      if (corner) {
        box(corner, crosshair, cornerFrame);
        corner = cornerFrame = null;
        unfreeze();
      } else {
        freeze();
        [corner, cornerFrame] = [crosshair, store.frame];
      }
    } else {
      if (event.key === "Escape") clear();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    updateOverlay({ crosshair, corner });
  });
}

const clamp = (value) => Math.min(1, Math.max(0, value));

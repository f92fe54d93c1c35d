// The large picture and the overlay on it.

import { find } from "./dom.js";
import { CLICK_SHOWN_MS, drawOverlay } from "./overlay.js";
import { decodePicture, paintFrame } from "./paint.js";
import { store, update } from "./store.js";

const picture = find("#picture");
const overlay = find("#overlay");
const MAX_CLICKS = 10;

const view = { header: null, selected: null, box: null, crosshair: null, corner: null, clicks: [] };
let frozen = null;

/** Show a frame. Resolves when it is on the screen, which is after the end of a drag: a box must fit its picture. */
export async function showFrame(frame) {
  const bitmap = await decodePicture(frame);
  while (frozen) await frozen.promise; // after decoding, so that the picture cannot change once a drag has begun
  if (frame.header.stream !== store.stream) return;
  paintFrame(picture, frame, bitmap);
  view.header = frame.header;
  Object.assign(picture.dataset, { stream: frame.header.stream, frame: frame.header.frame });
  update({ frame: frame.header });
  redraw();
}

/** Keep the current picture until `unfreeze`. */
export function freeze() {
  if (frozen) return;
  frozen = Promise.withResolvers?.() ?? withResolvers();
}

export function unfreeze() {
  frozen?.resolve();
  frozen = null;
  updateOverlay({ box: null });
}

/** Clear the picture before another stream is shown. */
export function clearViewer() {
  unfreeze();
  view.header = null;
  view.clicks = [];
  picture.getContext("2d", { alpha: false }).fillRect(0, 0, picture.width, picture.height);
  delete picture.dataset.frame;
  update({ frame: null });
  redraw();
}

/** Update the overlay: { box, crosshair, corner }. */
export function updateOverlay(changes) {
  Object.assign(view, changes);
  redraw();
}

/** Show a click for a moment. */
export function showClick(x, y, label) {
  view.clicks = [...view.clicks.slice(1 - MAX_CLICKS), { x, y, label, at: performance.now() }];
  redraw();
  setTimeout(redraw, CLICK_SHOWN_MS + 20);
}

export function redraw() {
  fit();
  drawOverlay(overlay, { ...view, selected: store.selected });
}

/** Align the overlay with the picture, which may be narrower than its box. */
function fit() {
  const box = picture.getBoundingClientRect();
  const scale = Math.min(box.width / picture.width, box.height / picture.height);
  const width = picture.width * scale, height = picture.height * scale;
  Object.assign(overlay.style, {
    width: `${width}px`,
    height: `${height}px`,
    left: `${picture.offsetLeft + (box.width - width) / 2}px`,
    top: `${picture.offsetTop + (box.height - height) / 2}px`,
  });
}

function withResolvers() {
  let resolve;
  const promise = new Promise((done) => { resolve = done; });
  return { promise, resolve };
}

new ResizeObserver(redraw).observe(picture);

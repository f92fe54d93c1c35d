// The large picture: the newest frame, what lies over it, and what a hand does on it.

import { find } from "./dom.js";
import { CLICK_SHOWN_MS, drawMarks } from "./marks.js";
import { paintFrame } from "./paint.js";
import { store, update } from "./store.js";

const picture = find("#picture");
const marks = find("#marks");
const MAX_CLICKS = 10;

const view = { header: null, selected: null, box: null, cross: null, corner: null, clicks: [] };
let release = null;

/** Put a frame on the screen. Resolves when it is there; not before a drag ends, so that a box fits its picture. */
export async function showFrame(frame) {
  await release?.promise;
  if (frame.header.stream !== store.watched) return;
  await paintFrame(picture, frame);
  view.header = frame.header;
  Object.assign(picture.dataset, { stream: frame.header.stream, frame: frame.header.frame });
  update({ shown: frame.header });
  redraw();
}

/** Keep the picture as it is until `letGo`. */
export function hold() {
  if (release) return;
  release = Promise.withResolvers?.() ?? withResolvers();
}

export function letGo() {
  release?.resolve();
  release = null;
  change({ box: null });
}

/** Forget the picture: another stream will be shown. */
export function clearStage() {
  letGo();
  view.header = null;
  view.clicks = [];
  picture.getContext("2d", { alpha: false }).fillRect(0, 0, picture.width, picture.height);
  delete picture.dataset.frame;
  update({ shown: null });
  redraw();
}

/** Change what lies over the picture: { box, cross, corner }. */
export function change(changes) {
  Object.assign(view, changes);
  redraw();
}

/** Show for a moment where somebody clicked. */
export function showClick(x, y, label) {
  view.clicks = [...view.clicks.slice(1 - MAX_CLICKS), { x, y, label, at: performance.now() }];
  redraw();
  setTimeout(redraw, CLICK_SHOWN_MS + 20);
}

export function redraw() {
  fit();
  drawMarks(marks, { ...view, selected: store.selected });
}

/** Lay the marks exactly over the picture, which may be narrower than its box. */
function fit() {
  const box = picture.getBoundingClientRect();
  const scale = Math.min(box.width / picture.width, box.height / picture.height);
  const width = picture.width * scale, height = picture.height * scale;
  Object.assign(marks.style, {
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

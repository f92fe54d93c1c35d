// The layer over the picture at screen resolution: labels, selection, preview, box, crosshair, clicks.

import { store } from "./store.js";
import { toScreen } from "./zoom.js";

const FONT = "600 13px system-ui, sans-serif";
const CLICK_MS = 900;
const AMBER = "#f0b429";

/**
 * Draw the overlay. `view`: { header, hovered, preview, box, crosshair, corner, clicks }; boxes and points are normalized,
 * `preview` is a canvas of the size of the picture.
 */
export function drawOverlay(canvas, view) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const place = (x, y) => {
    const [left, top] = toScreen([x, y]);
    return [left * width, top * height];
  };
  if (view.preview) {
    const [left, top] = place(0, 0), [right, bottom] = place(1, 1);
    context.drawImage(view.preview, left, top, right - left, bottom - top);
  }
  if (view.header) drawLabels(context, view, place, width, height);
  if (view.box) drawBox(context, view.box, place);
  if (view.crosshair) drawCrosshair(context, view.crosshair, view.corner, place);
  for (const click of view.clicks) drawClick(context, click, place);
}

function drawLabels(context, { header, hovered }, place, width, height) {
  const [pictureWidth, pictureHeight] = header.size;
  const placed = [];
  let hiddenY = height - 6;
  context.font = FONT;
  context.textBaseline = "middle";
  for (const object of header.objects) {
    const marked = object.id === store.selected || object.id === hovered;
    const name = `${object.id} ${object.label}`.trim();
    const visible = object.bbox[2] > 0 && ["tracked", "uncertain"].includes(object.state);
    const [x0, y0, w0, h0] = object.bbox;
    const [left, top] = place(x0 / pictureWidth, y0 / pictureHeight);
    const [right, bottom] = place((x0 + w0) / pictureWidth, (y0 + h0) / pictureHeight);
    if (visible && (right < 0 || bottom < 0 || left > width || top > height)) continue;
    if (marked && visible) drawSelection(context, left, top, right, bottom, object.id === store.selected);
    if (!store.labels && !marked) continue;
    const uncertain = object.state === "uncertain";
    const quality = `${(object.confidence ?? object.score).toFixed(2)}${uncertain ? " uncertain" : ""}`;
    const text = visible ? `${name}  ${quality}` : `${name}: ${object.state}`;
    const w = context.measureText(text).width + 12, h = 20;
    let x = 6, y = hiddenY - h;
    if (visible) {
      x = left;
      y = top - h - 2;
      if (y < 0) y = top + 2;
    } else {
      hiddenY -= h + 4;
    }
    x = Math.max(0, Math.min(x, width - w));
    for (const other of placed) {
      if (x < other.x + other.w && other.x < x + w && y < other.y + h && other.y < y + h) y = other.y + h + 2;
    }
    y = Math.max(0, Math.min(y, height - h));
    placed.push({ x, y, w });
    const ground = uncertain ? AMBER : object.colour;
    context.fillStyle = ground;
    context.beginPath();
    context.roundRect(x, y, w, h, 5);
    context.fill();
    if (object.id === store.selected) {
      context.strokeStyle = "#fff";
      context.lineWidth = 2;
      context.stroke();
    }
    context.fillStyle = isBright(ground) ? "#0a0a0a" : "#fff";
    context.fillText(text, x + 6, y + h / 2 + 0.5);
  }
}

function drawSelection(context, left, top, right, bottom, selected) {
  context.strokeStyle = "#fff";
  context.setLineDash(selected ? [5, 4] : [2, 4]);
  context.lineWidth = 1.5;
  context.strokeRect(left - 3, top - 3, right - left + 6, bottom - top + 6);
  context.setLineDash([]);
}

function drawBox(context, [x0, y0, x1, y1], place) {
  const [left, top] = place(x0, y0), [right, bottom] = place(x1, y1);
  const area = [left, top, right - left, bottom - top];
  context.fillStyle = "rgb(255 255 255 / .12)";
  context.fillRect(...area);
  strokeContrast(context, () => context.strokeRect(...area));
}

function drawCrosshair(context, [x, y], corner, place) {
  const [left, top] = place(x, y);
  strokeContrast(context, () => {
    context.beginPath();
    context.moveTo(left - 14, top); context.lineTo(left + 14, top);
    context.moveTo(left, top - 14); context.lineTo(left, top + 14);
    context.stroke();
  });
  if (corner) {
    drawBox(context, [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.max(x, corner[0]), Math.max(y, corner[1])], place);
  }
}

/** A fading dot at a click, green if positive, red if negative. */
function drawClick(context, { x, y, label, at }, place) {
  const age = (performance.now() - at) / CLICK_MS;
  if (age >= 1) return;
  const [left, top] = place(x, y);
  context.globalAlpha = 1 - age;
  context.fillStyle = label ? "#00b27a" : "#e0431b";
  context.beginPath();
  context.arc(left, top, 9, 0, 7);
  context.fill();
  context.strokeStyle = "#fff";
  context.lineWidth = 2;
  context.stroke();
  context.beginPath();
  context.moveTo(left - 4, top); context.lineTo(left + 4, top);
  if (label) { context.moveTo(left, top - 4); context.lineTo(left, top + 4); }
  context.stroke();
  context.globalAlpha = 1;
}

/** Stroke black under white, which is visible on any picture. */
function strokeContrast(context, stroke) {
  for (const [color, width] of [["rgb(0 0 0 / .7)", 4], ["#fff", 1.5]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    stroke();
  }
}

function isBright(color) {
  const [red, green, blue] = [1, 3, 5].map((from) => parseInt(color.slice(from, from + 2), 16));
  return 0.3 * red + 0.59 * green + 0.11 * blue > 110;
}

export const CLICK_SHOWN_MS = CLICK_MS;

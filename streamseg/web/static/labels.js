// The labels of objects: on the largest piece of the mask, none over another.

import { store } from "./store.js";

const FONT = "600 13px system-ui, sans-serif";
const HEIGHT = 20;
const GAP = 3;
const AMBER = "#f0b429";
/** Object id -> the place its label had: it stays there while that is free, so that labels do not jump. */
const lastPlace = new Map();

/**
 * Draw the labels of the objects, and a frame around those that are selected or under the mouse.
 * `place(x, y)`: position on the canvas of a point of the picture, both normalized; `shapes`: object id -> shape.
 */
export function drawLabels(context, { header, hovered, shapes }, place, width, height) {
  const [pictureWidth, pictureHeight] = header.size;
  const toCanvas = (x, y) => place(x / pictureWidth, y / pictureHeight);
  const taken = [];
  context.font = FONT;
  context.textBaseline = "middle";
  for (const id of lastPlace.keys()) if (!header.objects.some((object) => object.id === id)) lastPlace.delete(id);
  for (const object of header.objects) {
    const marked = object.id === store.selected || object.id === hovered;
    const shape = shapes.get(object.id);
    const visible = shape && ["tracked", "uncertain"].includes(object.state);
    const box = visible ? frameOf(shape.piece, toCanvas) : null;
    if (box && (box.right < 0 || box.bottom < 0 || box.left > width || box.top > height)) continue;
    if (marked && visible) drawSelection(context, object, toCanvas, object.id === store.selected);
    if (!store.labels && !marked) continue;
    const text = textOf(object, visible);
    const size = context.measureText(text).width + 12;
    const spot = box ? choose(object.id, placesAt(box, size), taken, size, width, height) : stack(taken, size, 6, height);
    taken.push(spot);
    drawLabel(context, object, text, spot, size);
  }
}

function textOf(object, visible) {
  const name = `${object.id} ${object.label}`.trim();
  if (!visible) return `${name}: ${object.state}`;
  const quality = (object.confidence ?? object.score).toFixed(2);
  return `${name}  ${quality}${object.state === "uncertain" ? " uncertain" : ""}`;
}

function frameOf({ left, top, right, bottom, middle }, toCanvas) {
  const [x0, y0] = toCanvas(left, top), [x1, y1] = toCanvas(right, bottom);
  return { left: x0, top: y0, right: x1, bottom: y1, middle: toCanvas(...middle) };
}

/** Places for a label at a piece, best first: above it, on it, below, beside. */
function placesAt({ left, top, right, bottom, middle: [x, y] }, size) {
  return {
    above: [x - size / 2, top - HEIGHT - GAP],
    on: [x - size / 2, y - HEIGHT / 2],
    below: [x - size / 2, bottom + GAP],
    right: [right + GAP, y - HEIGHT / 2],
    left: [left - size - GAP, y - HEIGHT / 2],
  };
}

function choose(id, places, taken, size, width, height) {
  const fits = ([x, y]) => x >= 0 && y >= 0 && x + size <= width && y + HEIGHT <= height;
  const free = ([x, y]) => taken.every((other) => !overlap(other, { x, y, size }));
  const names = Object.keys(places);
  const before = lastPlace.get(id);
  if (before) names.unshift(before);
  const name = names.find((each) => fits(places[each]) && free(places[each]));
  lastPlace.set(id, name);
  if (name) return { x: places[name][0], y: places[name][1], size };
  return stack(taken, size, Math.max(0, Math.min(places.on[0], width - size)), height); // no place is free
}

/** The lowest free place of a column: for objects that are not visible, in the left bottom corner. */
function stack(taken, size, x, height) {
  const spot = { x, y: height - HEIGHT - 6, size };
  while (spot.y > 0 && taken.some((other) => overlap(other, spot))) spot.y -= HEIGHT + 4;
  return spot;
}

const overlap = (one, other) => one.x < other.x + other.size && other.x < one.x + one.size
  && Math.abs(one.y - other.y) < HEIGHT;

function drawLabel(context, object, text, { x, y }, size) {
  const ground = object.state === "uncertain" ? AMBER : object.colour;
  context.fillStyle = ground;
  context.beginPath();
  context.roundRect(x, y, size, HEIGHT, 5);
  context.fill();
  if (object.id === store.selected) {
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.stroke();
  }
  context.fillStyle = isBright(ground) ? "#0a0a0a" : "#fff";
  context.fillText(text, x + 6, y + HEIGHT / 2 + 0.5);
}

function drawSelection(context, { bbox: [x, y, w, h] }, toCanvas, selected) {
  const [left, top] = toCanvas(x, y), [right, bottom] = toCanvas(x + w, y + h);
  context.strokeStyle = "#fff";
  context.setLineDash(selected ? [5, 4] : [2, 4]);
  context.lineWidth = 1.5;
  context.strokeRect(left - 3, top - 3, right - left + 6, bottom - top + 6);
  context.setLineDash([]);
}

function isBright(color) {
  const [red, green, blue] = [1, 3, 5].map((from) => parseInt(color.slice(from, from + 2), 16));
  return 0.3 * red + 0.59 * green + 0.11 * blue > 110;
}

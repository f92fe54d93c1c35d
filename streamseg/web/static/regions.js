// Zones and lines of the shown stream: drawn over the picture, and drawn by the user with clicks.

import { api } from "./api.js";
import { showError } from "./notifications.js";
import { on, store, update } from "./store.js";

const MAX_CORNERS = 64;
const CLOSE = 0.02;
const FONT = "600 12px system-ui, sans-serif";

/** Load the settings of the shown stream, zones and lines among them. */
export async function loadSettings() {
  const { stream } = store;
  update({ settings: null, drawing: null });
  if (stream === null) return;
  try {
    const settings = await api.settings(stream);
    if (store.stream === stream) update({ settings });
  } catch { /* an older daemon, or none: the panel says that there are no settings */ }
}

/** Change settings of the shown stream; errors are shown. `makeChanges(settings)`: from those that are in use now. */
export async function changeSettings(makeChanges) {
  const { stream } = store;
  try {
    const changes = makeChanges((await api.settings(stream)).settings);
    const settings = await api.changeSettings(stream, changes);
    if (store.stream === stream) update({ settings });
  } catch (error) {
    showError(error);
    update({ settings: store.settings }); // fields go back to what is in use
  }
}

/** Begin to draw: `kind` is `zone` or `line`. */
export const startDrawing = (kind) => update({ drawing: { kind, corners: [] } });

export const cancelDrawing = () => update({ drawing: null });

/** Add a corner to what is being drawn. A line ends with its second, a zone at its first corner. */
export function addCorner(point) {
  const { kind, corners } = store.drawing;
  const closes = kind === "zone" && corners.length >= 3 && Math.hypot(point[0] - corners[0][0], point[1] - corners[0][1]) < CLOSE;
  if (!closes) update({ drawing: { kind, corners: [...corners, point] } });
  if (closes || kind === "line" && corners.length === 1 || corners.length + 1 >= MAX_CORNERS) finishDrawing();
}

/** Take a rectangle as a zone, or its diagonal as a line. */
export function addRectangle([x0, y0], [x1, y1]) {
  const { kind } = store.drawing;
  const corners = kind === "line" ? [[x0, y0], [x1, y1]] : [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  update({ drawing: { kind, corners } });
  finishDrawing();
}

/** Save what is being drawn, if it is complete. */
export function finishDrawing() {
  const { drawing, settings } = store;
  if (!drawing || !settings || drawing.corners.length < (drawing.kind === "zone" ? 3 : 2)) return;
  update({ drawing: null });
  const group = `${drawing.kind}s`;
  const corners = drawing.corners.map((corner) => corner.map((value) => Math.round(value * 1e4) / 1e4));
  const region = drawing.kind === "zone" ? { polygon: corners } : { start: corners[0], end: corners[1] };
  changeSettings(({ [group]: existing }) => {
    let number = 1;
    while (`${drawing.kind}-${number}` in existing) number++;
    return { [group]: { ...existing, [`${drawing.kind}-${number}`]: { ...region, coords: "normalized" } } };
  });
}

function normalized(points, coords, [width, height]) {
  return coords === "pixels" ? points.map(([x, y]) => [x / width, y / height]) : points;
}

/** Draw zones, lines, and what is being drawn up to the pointer. `place(x, y)`: position of a normalized point. */
export function drawRegions(context, size, place, pointer) {
  const { zones = {}, lines = {} } = store.settings?.settings ?? {};
  for (const [name, { polygon, coords }] of Object.entries(zones)) {
    drawPath(context, normalized(polygon, coords, size), place, name, true);
  }
  for (const [name, { start, end, coords }] of Object.entries(lines)) {
    const [from, to] = normalized([start, end], coords, size);
    drawPath(context, [from, to], place, name, false);
    drawArrow(context, place(...from), place(...to));
  }
  if (!store.drawing) return;
  const corners = [...store.drawing.corners, ...(pointer ? [pointer] : [])];
  drawPath(context, corners, place, "", store.drawing.kind === "zone" && corners.length > 2);
  for (const corner of store.drawing.corners) {
    const [x, y] = place(...corner);
    context.fillStyle = "#fff";
    context.fillRect(x - 4, y - 4, 8, 8);
  }
}

function drawPath(context, points, place, name, closed) {
  if (!points.length) return;
  context.beginPath();
  points.forEach((point, index) => context[index ? "lineTo" : "moveTo"](...place(...point)));
  if (closed) context.closePath();
  if (closed) { context.fillStyle = "rgb(255 255 255 / .08)"; context.fill(); }
  for (const [color, width] of [["rgb(0 0 0 / .6)", 4], ["#fff", 1.6]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.setLineDash(closed ? [7, 5] : []);
    context.stroke();
  }
  context.setLineDash([]);
  if (!name) return;
  const [x, y] = place(...points[0]);
  context.font = FONT;
  context.textBaseline = "top";
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / .7)";
  context.strokeText(name, x + 5, y + 4);
  context.fillStyle = "#fff";
  context.fillText(name, x + 5, y + 4);
}

/** From the middle of a line to its right, which is the forward direction. */
function drawArrow(context, [x0, y0], [x1, y1]) {
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  const x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  const right = [-(y1 - y0) / length, (x1 - x0) / length], along = [(x1 - x0) / length, (y1 - y0) / length];
  context.fillStyle = "#fff";
  context.beginPath();
  context.moveTo(x + 14 * right[0], y + 14 * right[1]);
  context.lineTo(x + 6 * along[0], y + 6 * along[1]);
  context.lineTo(x - 6 * along[0], y - 6 * along[1]);
  context.fill();
}

on("stream", loadSettings);

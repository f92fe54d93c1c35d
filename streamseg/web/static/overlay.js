// The layer over the picture at screen resolution: labels, selection, box, crosshair, clicks.

const FONT = "600 13px system-ui, sans-serif";
const CLICK_MS = 900;

/** Draw the overlay. `view`: { header, selected, box, crosshair, corner, clicks }; boxes and points are normalized. */
export function drawOverlay(canvas, view) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (view.header) drawLabels(context, view, width, height);
  if (view.box) drawBox(context, view.box, width, height);
  if (view.crosshair) drawCrosshair(context, view.crosshair, view.corner, width, height);
  for (const click of view.clicks) drawClick(context, click, width, height);
}

function drawLabels(context, { header, selected }, width, height) {
  const scaleX = width / header.size[0], scaleY = height / header.size[1];
  const placed = [];
  let hiddenY = height - 6;
  context.font = FONT;
  context.textBaseline = "middle";
  for (const object of header.objects) {
    const name = `${object.id} ${object.label}`.trim();
    const visible = object.bbox[2] > 0 && object.state === "tracked";
    const text = visible ? `${name}  ${object.score.toFixed(2)}` : `${name}: ${object.state}`;
    const w = context.measureText(text).width + 12, h = 20;
    let x = 6, y = hiddenY - h;
    if (visible) {
      x = object.bbox[0] * scaleX;
      y = object.bbox[1] * scaleY - h - 2;
      if (y < 0) y = object.bbox[1] * scaleY + 2;
    } else {
      hiddenY -= h + 4;
    }
    x = Math.max(0, Math.min(x, width - w));
    for (const other of placed) {
      if (x < other.x + other.w && other.x < x + w && y < other.y + h && other.y < y + h) y = other.y + h + 2;
    }
    y = Math.max(0, Math.min(y, height - h));
    placed.push({ x, y, w });
    context.fillStyle = object.colour;
    context.beginPath();
    context.roundRect(x, y, w, h, 5);
    context.fill();
    if (object.id === selected) {
      context.strokeStyle = "#fff";
      context.lineWidth = 2;
      context.stroke();
      if (visible) drawSelection(context, object.bbox, scaleX, scaleY);
    }
    context.fillStyle = isBright(object.colour) ? "#0a0a0a" : "#fff";
    context.fillText(text, x + 6, y + h / 2 + 0.5);
  }
}

function drawSelection(context, [x, y, w, h], scaleX, scaleY) {
  context.setLineDash([5, 4]);
  context.lineWidth = 1.5;
  context.strokeRect(x * scaleX - 3, y * scaleY - 3, w * scaleX + 6, h * scaleY + 6);
  context.setLineDash([]);
}

function drawBox(context, [x0, y0, x1, y1], width, height) {
  const area = [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height];
  context.fillStyle = "rgb(255 255 255 / .12)";
  context.fillRect(...area);
  strokeContrast(context, () => context.strokeRect(...area));
}

function drawCrosshair(context, [x, y], corner, width, height) {
  const at = [x * width, y * height];
  strokeContrast(context, () => {
    context.beginPath();
    context.moveTo(at[0] - 14, at[1]); context.lineTo(at[0] + 14, at[1]);
    context.moveTo(at[0], at[1] - 14); context.lineTo(at[0], at[1] + 14);
    context.stroke();
  });
  if (corner) {
    drawBox(context, [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.max(x, corner[0]), Math.max(y, corner[1])], width, height);
  }
}

/** A fading dot at a click, green if positive, red if negative. */
function drawClick(context, { x, y, label, at }, width, height) {
  const age = (performance.now() - at) / CLICK_MS;
  if (age >= 1) return;
  context.globalAlpha = 1 - age;
  context.fillStyle = label ? "#00b27a" : "#e0431b";
  context.beginPath();
  context.arc(x * width, y * height, 9, 0, 7);
  context.fill();
  context.strokeStyle = "#fff";
  context.lineWidth = 2;
  context.stroke();
  context.beginPath();
  context.moveTo(x * width - 4, y * height); context.lineTo(x * width + 4, y * height);
  if (label) { context.moveTo(x * width, y * height - 4); context.lineTo(x * width, y * height + 4); }
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

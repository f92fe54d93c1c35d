// All streams as tiles; clicking one shows it large.

import { find, make, setText } from "./dom.js";
import { copyScaled, paintFrame } from "./effects.js";
import { pixelAspect } from "./frame_message.js";
import { decodeMasks, decodePicture } from "./masks.js";
import { on, store } from "./store.js";

const box = find("#tiles");
const TILE = { effect: "color", opacity: 0.4 };
/** A picture of which the pixels are not square, before it is stretched. */
const stored = document.createElement("canvas");
/** Stream -> { element, canvas, text }. */
const tiles = new Map();

/** Paint a frame on the tile of its stream. */
export async function showOnTile(frame) {
  const tile = tiles.get(frame.header.stream);
  if (!tile) return;
  const bitmap = await decodePicture(frame);
  const { size } = frame.header;
  const aspect = pixelAspect(frame.header);
  const canvas = aspect === 1 ? tile.canvas : stored;
  paintFrame(canvas, size, bitmap, decodeMasks(frame), store.grid ? store : TILE);
  if (canvas === stored) copyScaled(stored, tile.canvas, Math.round(size[0] * aspect), size[1]);
  bitmap.close();
}

/** Copy the large picture to the tile of its stream. */
function copyLargePicture() {
  const tile = tiles.get(store.stream);
  const picture = find("#picture");
  if (!tile || !store.frame || box.hidden || store.grid) return;
  const ratio = picture.height / (picture.width * pixelAspect(store.frame));
  copyScaled(picture, tile.canvas, 320, Math.round(320 * ratio));
}

const count = (objects) => objects === 1 ? "1 object" : `${objects} objects`;

/** Observe the store. `showStream(id)` shows a stream large. */
export function initTiles(showStream) {
  const show = () => {
    for (const [id, tile] of tiles) {
      if (store.streams.includes(id)) continue;
      tile.element.remove();
      tiles.delete(id);
    }
    for (const id of store.streams) {
      if (!tiles.has(id)) {
        const canvas = make("canvas", { width: "320", height: "180", "aria-hidden": "true" });
        const text = make("small");
        const element = make("button", { type: "button", class: "tile", "data-stream": id }, canvas, make("span", {}, make("b", {}, id)), text);
        element.onclick = () => showStream(id);
        box.append(element);
        tiles.set(id, { element, canvas, text });
      }
      const status = store.statuses.get(id);
      const tile = tiles.get(id);
      tile.element.setAttribute("aria-pressed", String(id === store.stream && !store.grid));
      setText(tile.text, status ? `${status.state} · ${count(status.objects)}` : "");
    }
    box.hidden = store.streams.length < 2 && !store.grid;
    box.style.setProperty("--columns", Math.ceil(Math.sqrt(store.streams.length)));
    copyLargePicture();
  };
  on("streams statuses stream grid", show);
}

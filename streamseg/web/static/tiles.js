// All streams as tiles; the one that is pressed is shown large.

import { find, make, say } from "./dom.js";
import { paintFrame } from "./paint.js";
import { on, store } from "./store.js";

const box = find("#tiles");
/** Stream -> { element, canvas, text }. */
const tiles = new Map();

/** Put a frame on its tile. */
export async function showOnTile(frame) {
  const tile = tiles.get(frame.header.stream);
  if (tile) await paintFrame(tile.canvas, frame);
}

/** Let the tile of the large stream show what is shown large. */
function copyLarge() {
  const tile = tiles.get(store.watched);
  const picture = find("#picture");
  if (!tile || !store.shown || box.hidden) return;
  Object.assign(tile.canvas, { width: 320, height: Math.round(320 * picture.height / picture.width) });
  tile.canvas.getContext("2d").drawImage(picture, 0, 0, tile.canvas.width, tile.canvas.height);
}

const count = (objects) => objects === 1 ? "1 object" : `${objects} objects`;

/** Follow which streams there are. `watch(id)` shows one large. */
export function followTiles(watch) {
  const show = () => {
    for (const [id, tile] of tiles) {
      if (store.order.includes(id)) continue;
      tile.element.remove();
      tiles.delete(id);
    }
    for (const id of store.order) {
      if (!tiles.has(id)) {
        const canvas = make("canvas", { width: "320", height: "180", "aria-hidden": "true" });
        const text = make("small");
        const element = make("button", { type: "button", class: "tile", "data-stream": id }, canvas, make("span", {}, make("b", {}, id)), text);
        element.onclick = () => watch(id);
        box.append(element);
        tiles.set(id, { element, canvas, text });
      }
      const status = store.statuses.get(id);
      const tile = tiles.get(id);
      tile.element.setAttribute("aria-pressed", String(id === store.watched));
      say(tile.text, status ? `${status.state} · ${count(status.objects)}` : "");
    }
    box.hidden = store.order.length < 2;
    copyLarge();
  };
  on("order statuses watched", show);
}

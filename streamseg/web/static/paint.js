// Paint a frame: its picture, and over it the masks of the same frame.

import { decodeRle } from "./rle.js";

const OPACITY = 0.4;
const scratch = document.createElement("canvas");

/** Paint into a canvas, which takes the picture's size. Resolves when it is done. */
export async function paintFrame(canvas, { header, jpeg, masks }) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  const [width, height] = header.size;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const rim = Math.max(1, Math.round(Math.min(width, height) / 360));
  header.objects.forEach((object, index) => {
    const { roi, data } = masks[index];
    if (data.length) paintMask(context, decodeRle(data, roi[2], roi[3]), roi, object.colour, rim);
  });
}

function paintMask(context, mask, [x, y, width, height], colour, rim) {
  const ink = littleEndianRgb(colour);
  const tint = (Math.round(255 * OPACITY) << 24 | ink) >>> 0;
  const outline = (255 << 24 | ink) >>> 0;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let row = 0, at = 0; row < height; row++) {
    const inside = row >= rim && row < height - rim;
    for (let column = 0; column < width; column++, at++) {
      if (!mask[at]) continue;
      const core = inside && column >= rim && column < width - rim
        && mask[at - rim] && mask[at + rim] && mask[at - rim * width] && mask[at + rim * width];
      pixels[at] = core ? tint : outline;
    }
  }
  if (scratch.width < width || scratch.height < height) {
    scratch.width = Math.max(scratch.width, width);
    scratch.height = Math.max(scratch.height, height);
  }
  scratch.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(scratch, 0, 0, width, height, x, y, width, height);
}

/** `#rrggbb` as the low 24 bits of a pixel; every browser's machine is little-endian. */
function littleEndianRgb(colour) {
  const [red, green, blue] = [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
  return blue << 16 | green << 8 | red;
}

// Paints a frame: the picture, and the masks of the same frame over it.

import { decodeRle } from "./mask_codec.js";

const OPACITY = 0.4;
const scratch = document.createElement("canvas");

/** Decode the picture of a frame. */
export const decodePicture = ({ jpeg }) => createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));

/** Paint a frame on a canvas, which is resized to the frame. Closes the decoded picture. */
export function paintFrame(canvas, { header, masks }, bitmap) {
  const [width, height] = header.size;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { alpha: false });
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const outlineWidth = Math.max(1, Math.round(Math.min(width, height) / 360));
  header.objects.forEach((object, index) => {
    const { roi, data } = masks[index];
    if (data.length) paintMask(context, decodeRle(data, roi[2], roi[3]), roi, object.colour, outlineWidth);
  });
}

function paintMask(context, mask, [x, y, width, height], color, outlineWidth) {
  const rgb = littleEndianRgb(color);
  const tint = (Math.round(255 * OPACITY) << 24 | rgb) >>> 0;
  const solid = (255 << 24 | rgb) >>> 0;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let row = 0, at = 0; row < height; row++) {
    const inside = row >= outlineWidth && row < height - outlineWidth;
    for (let column = 0; column < width; column++, at++) {
      if (!mask[at]) continue;
      const interior = inside && column >= outlineWidth && column < width - outlineWidth
        && mask[at - outlineWidth] && mask[at + outlineWidth] && mask[at - outlineWidth * width] && mask[at + outlineWidth * width];
      pixels[at] = interior ? tint : solid;
    }
  }
  if (scratch.width < width || scratch.height < height) {
    scratch.width = Math.max(scratch.width, width);
    scratch.height = Math.max(scratch.height, height);
  }
  scratch.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(scratch, 0, 0, width, height, x, y, width, height);
}

/** `#rrggbb` as the low 24 bits of a pixel. All platforms with browsers are little-endian. */
function littleEndianRgb(color) {
  const [red, green, blue] = [1, 3, 5].map((from) => parseInt(color.slice(from, from + 2), 16));
  return blue << 16 | green << 8 | red;
}

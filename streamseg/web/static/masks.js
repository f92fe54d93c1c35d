// The pictures and masks of a frame, decoded.

import { decodeRle } from "./mask_codec.js";

export const decodePicture = ({ jpeg }) => createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));

/** Decode the masks of a frame: [{ id, color, roi, mask }], without objects that have no mask. */
export function decodeMasks({ header, masks }) {
  return header.objects.flatMap(({ id, colour }, index) => {
    const { roi, data } = masks[index];
    return data.length ? [{ id, color: colour, roi, mask: decodeRle(data, roi[2], roi[3]) }] : [];
  });
}

/** Id of the object at a pixel; the smallest if several overlap; null if there is none. */
export function objectAt(objects, x, y) {
  let found = null;
  for (const { id, roi: [left, top, width, height], mask } of objects) {
    const column = x - left, row = y - top;
    if (column < 0 || row < 0 || column >= width || row >= height || !mask[row * width + column]) continue;
    if (!found || width * height < found.size) found = { id, size: width * height };
  }
  return found?.id ?? null;
}

// Decodes masks: the compressed run-length encoding of COCO (docs/protocol.md).
// clients/node/ and streamseg/web/static/ each have a copy of this file, as both are distributed alone. A test compares them.

/** Decode a mask to one byte per pixel, row by row. Throws if the runs do not fill it exactly. */
export function decodeRle(data, width, height) {
  const mask = new Uint8Array(width * height);
  const runs = [];
  let number = 0, shift = 1, at = 0;
  for (const char of data) {
    const group = char - 48;
    number += (group & 31) * shift;
    shift *= 32;
    if (group & 32) continue;
    if (group & 16) number -= shift;
    if (runs.length > 2) number += runs[runs.length - 2];
    if (number < 0 || at + number > mask.length) throw new Error("the runs exceed the mask");
    if (runs.length % 2) fill(mask, at, number, width, height);
    at += number;
    runs.push(number);
    number = 0;
    shift = 1;
  }
  if (at !== mask.length) throw new Error("the runs do not fill the mask");
  return mask;
}

/** Fill a run: runs go down the columns, pixels are stored in rows. */
function fill(mask, from, count, width, height) {
  let row = from % height;
  let pixel = row * width + (from - row) / height;
  for (let left = count; left > 0; left--) {
    mask[pixel] = 1;
    pixel += width;
    if (++row === height) {
      row = 0;
      pixel += 1 - width * height;
    }
  }
}

// Decodes the test vectors and the golden messages, and prints what it found as JSON.
// node read_vectors.mjs CLIENT_FOLDER VECTORS GOLDEN_FILE...

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, vectors, ...golden] = process.argv.slice(2);
const { decodeRle, parse, maskOf } = await import(pathToFileURL(folder));

const summary = (mask) => {
  let area = 0, sum = 0;
  mask.forEach((value, index) => { if (value) { area++; sum += index + 1; } });
  return { area, index_sum: sum };
};

const found = JSON.parse(readFileSync(vectors)).map(({ name, width, height, counts }) => {
  try {
    return { ...summary(decodeRle(new TextEncoder().encode(counts), width, height)), name };
  } catch {
    return { name };
  }
});
for (const file of golden) {
  const data = readFileSync(file), parts = [];
  for (let at = 0; at < data.length;) {
    const length = data.readUInt32BE(at);
    parts.push(data.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  const message = parse(parts);
  const objects = (["masks", "objects"].includes(message.kind) ? message.header.objects : []).map((object) => ({
    ...(object.part !== null && object.encoding === "coco_rle" ? summary(maskOf(message, object)) : {}),
    id: object.id, label: object.label,
  }));
  const jpeg = message.kind === "image" ? { jpeg: message.parts[0].length } : {};
  found.push({ stream: message.stream, kind: message.kind, objects, ...jpeg });
}
console.log(JSON.stringify(found));

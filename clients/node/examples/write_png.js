// Writes the masks of one frame as a PNG: each object in a color of its own, background transparent.
//
//     npm install --no-save pngjs
//     node examples/write_png.js masks.png [ENDPOINT] [STREAM] [KEY_FILE]

import { writeFileSync } from "node:fs";
import { PNG } from "pngjs";
import { Subscriber, labelMap, loadKeys } from "../index.js";

// The colors of the page and of docs/protocol.md.
const PALETTE = (
  "56b4e9 e69f00 cc79a7 009e73 f0e442 0072b2 d55e00 bebebe 992222 bbffdd " +
  "3311ee 8877ff 994477 bbddff ccdd99 bb4433 7700bb 99bb77 882288 dd11cc"
).split(" ").map((color) => [...Buffer.from(color, "hex")]);
const [file = "masks.png", endpoint = "tcp://127.0.0.1:5555", stream, keyFile] = process.argv.slice(2);
const keys = keyFile ? loadKeys(keyFile) : null;
const subscriber = new Subscriber(endpoint, { streams: stream ? [stream] : [], keys });

for await (const message of subscriber) {
  const visible = message.header.objects.filter((object) => object.part !== null);
  if (!visible.length) continue;
  const [width, height] = message.header.size;
  const png = new PNG({ width, height });
  labelMap(message).forEach((id, pixel) => {
    if (id) png.data.set([...PALETTE[(id - 1) % PALETTE.length], 255], 4 * pixel);
  });
  writeFileSync(file, PNG.sync.write(png));
  console.log(`${message.stream} frame ${message.header.frame} in ${file}`);
  for (const { id, label, state, area } of visible) console.log(id, label, state, area);
  subscriber.close();
}

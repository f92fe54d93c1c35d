// Writes the masks of one frame as a PNG: each object in a color of its own, background transparent.
//
//     npm install --no-save pngjs
//     node examples/write_png.js masks.png [ENDPOINT] [STREAM]

import { writeFileSync } from "node:fs";
import { PNG } from "pngjs";
import { Subscriber, labelMap } from "../index.js";

const PALETTE = [[86, 180, 233], [230, 159, 0], [204, 121, 167], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [190, 190, 190]];
const [file = "masks.png", endpoint = "tcp://127.0.0.1:5555", stream] = process.argv.slice(2);
const subscriber = new Subscriber(endpoint, stream ? { streams: [stream] } : {});

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

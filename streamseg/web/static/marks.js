// Turns events into marks of the timeline, with a small picture of the object at that moment.

import { describeEvent } from "./events.js";
import { find } from "./dom.js";
import { on, store } from "./store.js";
import { makeThumbnail } from "./thumbnail.js";
import { lastBox, recordFrame, recordMark } from "./track_record.js";

const MAX_AGE_MS = 5000;
/** Marks of objects that are not on the screen yet. */
let pending = [];

/** Add an event to the timeline of its stream. */
export function noteMark(event) {
  const stream = event.stream === "_daemon" ? store.stream : event.stream;
  if (stream === null) return;
  const { text, level } = describeEvent(event);
  const mark = { at: event.t_wall_ms, kind: event.kind, object: event.object, text, level, picture: null };
  const fresh = event.object !== null && stream === store.stream && !store.grid && Date.now() - mark.at < MAX_AGE_MS;
  if (fresh) {
    mark.picture = pictureOf(stream, event.object);
    if (!mark.picture) pending.push(mark);
  }
  recordMark(stream, mark);
}

function pictureOf(stream, object) {
  const box = store.frame && lastBox(stream, object);
  return box ? makeThumbnail(find("#picture"), box) : null;
}

/** Observe the store: record the states of each frame, and take the pictures of objects that have just appeared. */
export function initMarks() {
  on("frame", () => {
    if (!store.frame) return;
    recordFrame(store.frame);
    pending = pending.filter((mark) => Date.now() - mark.at < MAX_AGE_MS);
    for (const mark of pending) {
      const picture = pictureOf(store.frame.stream, mark.object);
      if (picture) recordMark(store.frame.stream, Object.assign(mark, { picture }));
    }
    pending = pending.filter((mark) => !mark.picture);
  });
  on("stream", () => { pending = []; });
}

// What clicks, keys and buttons do. Every error is shown, and nothing waits for an answer.

import { showFault } from "./faults.js";
import { api } from "./api.js";
import { isPaused, store, update } from "./store.js";

const MAX_UNDONE = 50;
/** Objects in the order of their prompts, so that undo works without a selection: [stream, object]. */
const prompted = [];

/** Do something; what goes wrong is shown with a way to try again. */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    showFault(error, error.retryable ? { label: "Try again", work: () => attempt(work) } : null);
    return null;
  }
}

/** Send a mark on a picture: { points } or { box }, normalised; `header` is the picture's. */
export async function mark(marks, header, onExpired = "error") {
  const objectId = store.selected;
  const takesAway = marks.points?.every(([, , label]) => label === 0);
  if (takesAway && objectId === null) {
    showFault({ message: "Select the object first: this click takes something away from it.", code: "NO_OBJECT" });
    return;
  }
  const prompt = { ...marks, object_id: objectId, frame: header.frame, on_expired: onExpired };
  try {
    const result = await api.prompt(header.stream, prompt);
    prompted.push([header.stream, result.object_id]);
    prompted.splice(0, prompted.length - MAX_UNDONE);
  } catch (error) {
    const again = { label: "Try again", work: () => mark(marks, header, onExpired) };
    const newest = { label: "Use the newest picture", work: () => mark(marks, header, "newest") };
    showFault(error, error.code === "FRAME_EXPIRED" ? newest : error.retryable ? again : null);
  }
}

/** Take back the last prompt of the selected object, or the last one at all. */
export function undo() {
  const last = prompted.findLastIndex(([stream, object]) =>
    stream === store.watched && (store.selected === null || object === store.selected));
  const object = store.selected ?? prompted[last]?.[1];
  if (object === undefined) {
    showFault({ message: "There is nothing to undo here: select an object to undo its last click.", code: "NOTHING_TO_UNDO" });
    return;
  }
  if (last >= 0) prompted.splice(last, 1);
  attempt(() => api.undo(store.watched, object));
}

export function remove(object) {
  if (object === null) {
    showFault({ message: "Select an object first, then remove it.", code: "NO_OBJECT" });
    return;
  }
  if (store.selected === object) select(null);
  attempt(() => api.remove(store.watched, object));
}

export const rename = (object, label) => attempt(() => api.rename(store.watched, object, label));

export function select(object) {
  update({ selected: object, negative: object === null ? false : store.negative });
}

export function reset() {
  select(null);
  return attempt(() => api.reset(store.watched));
}

/** Stop tracking, or go on; the stream's next status shows it. */
export function togglePause() {
  const order = isPaused() ? api.resume : api.pause;
  return attempt(() => order(store.watched));
}

// What clicks, keys and buttons do. Errors are shown as notifications; nothing waits for a response.

import { showError } from "./notifications.js";
import { api } from "./api.js";
import { isPaused, store, update } from "./store.js";

const MAX_HISTORY = 50;
/** Prompts made here, oldest first, so that undo works without a selection: [stream, object]. */
const history = [];

/** Run an action; show its error with a button to try again. */
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    showError(error, error.retryable ? { label: "Try again", run: () => attempt(action) } : null);
    return null;
  }
}

/** Send a prompt for a picture: { points } or { box }, normalized; `header` is the header of the picture. */
export async function sendPrompt(prompt, header, onExpired = "error") {
  const objectId = store.selected;
  const negative = prompt.points?.every(([, , label]) => label === 0);
  if (negative && objectId === null) {
    showError({ message: "Select an object first: a negative click removes a part of it.", code: "NO_OBJECT" });
    return;
  }
  const request = { ...prompt, object_id: objectId, frame: header.frame, on_expired: onExpired };
  try {
    const result = await api.prompt(header.stream, request);
    history.push([header.stream, result.object_id]);
    history.splice(0, history.length - MAX_HISTORY);
    if (header.stream === store.stream) select(result.object_id, result.newest + 1);
  } catch (error) {
    const retry = { label: "Try again", run: () => sendPrompt(prompt, header, onExpired) };
    const newest = { label: "Use the newest picture", run: () => sendPrompt(prompt, header, "newest") };
    showError(error, error.code === "FRAME_EXPIRED" ? newest : error.retryable ? retry : null);
  }
}

/** Whether there is something to undo. */
export const canUndo = () => store.selected !== null || history.some(([stream]) => stream === store.stream);

/** Undo the last prompt of the selected object, or the last prompt of the stream if none is selected. */
export function undo() {
  const last = history.findLastIndex(([stream, object]) =>
    stream === store.stream && (store.selected === null || object === store.selected));
  const object = store.selected ?? history[last]?.[1];
  if (object === undefined) {
    showError({ message: "There is nothing to undo: select an object to undo its last click.", code: "NOTHING_TO_UNDO" });
    return;
  }
  if (last >= 0) history.splice(last, 1);
  attempt(() => api.undo(store.stream, object));
}

export function remove(object) {
  if (object === null) {
    showError({ message: "Select the object to remove first.", code: "NO_OBJECT" });
    return;
  }
  if (store.selected === object) select(null);
  attempt(() => api.remove(store.stream, object));
}

export const rename = (object, label) => attempt(() => api.rename(store.stream, object, label));

/** Select an object; null for none. `from`: first frame on which it must exist. */
export function select(object, from = 0) {
  update({ selected: object, selectedFrom: from, negative: object === null ? false : store.negative });
}

export function reset() {
  select(null);
  return attempt(() => api.reset(store.stream));
}

/** Pause or resume tracking; the next status of the stream shows the result. */
export function togglePause() {
  const request = isPaused() ? api.resume : api.pause;
  return attempt(() => request(store.stream));
}

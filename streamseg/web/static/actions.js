// What clicks, keys and buttons do. Errors are shown as notifications; nothing waits for a response.

import { showError } from "./notifications.js";
import { api } from "./api.js";
import { candidateOf, forgetCandidate } from "./candidates.js";
import { isFinding, isPaused, store, update } from "./store.js";

/** How long the daemon can undo a change. */
const UNDO_MS = 60000;
/** Stream -> until when its last change can be undone, as far as this page knows. */
const undoableUntil = new Map();
/** Stream -> until when its last undone change can be done again. */
const redoableUntil = new Map();
const soon = () => performance.now() + UNDO_MS;

function noteChange(stream) {
  undoableUntil.set(stream, soon());
  redoableUntil.delete(stream);
}

/** Note a change by another program. */
export function noteEvent({ stream, kind, t_wall_ms: at }) {
  if (kind === "worker_restarted" && at > performance.timeOrigin) forgetChanges();
  const isChange = ["object_added", "object_removed", "tracker_reset"].includes(kind);
  if (isChange && at > performance.timeOrigin) undoableUntil.set(stream, soon());
}

/** A new worker does not know the changes that were made before it started. */
function forgetChanges() {
  if (canUndo()) {
    showError({ message: "The tracker was restarted: changes from before can no longer be undone.", code: "WORKER_RESTARTED" });
  }
  undoableUntil.clear();
  redoableUntil.clear();
}

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
  const request = { ...prompt, ...candidateOf(prompt), object_id: objectId, frame: header.frame, on_expired: onExpired };
  try {
    const result = await api.prompt(header.stream, request);
    noteChange(header.stream);
    forgetCandidate();
    if (header.stream === store.stream) select(result.object_id, result.newest + 1);
  } catch (error) {
    const retry = { label: "Try again", run: () => sendPrompt(prompt, header, onExpired) };
    const newest = { label: "Use the newest picture", run: () => sendPrompt(prompt, header, "newest") };
    showError(error, error.code === "FRAME_EXPIRED" ? newest : error.retryable ? retry : null);
  }
}

/** Whether there is something to undo. */
export const canUndo = () => undoableUntil.get(store.stream) > performance.now();

/** Undo the last change of the stream: a prompt, a removal, a reset or a name. */
export async function undo() {
  const { stream } = store;
  if (!canUndo()) {
    showError({ message: "There is nothing to undo: a change can be undone for a minute.", code: "NOTHING_TO_UNDO" });
    return;
  }
  const result = await attempt(() => api.undo(stream));
  if (result) redoableUntil.set(stream, soon());
  if (!result || result.left === 0) undoableUntil.delete(stream);
}

/** Whether an undone change can be done again. */
export const canRedo = () => redoableUntil.get(store.stream) > performance.now();

/** Do the change again that was undone last. */
export async function redo() {
  const { stream } = store;
  if (!canRedo()) {
    showError({ message: "There is nothing to do again: undo a change first.", code: "NOTHING_TO_REDO" });
    return;
  }
  const result = await attempt(() => api.redo(stream));
  if (result) undoableUntil.set(stream, soon());
  if (!result || result.left === 0) redoableUntil.delete(stream);
}

/** Change the objects of the shown stream. */
async function change(action) {
  const { stream } = store;
  await attempt(async () => {
    await action(stream);
    noteChange(stream);
  });
}

export function remove(object) {
  if (object === null) {
    showError({ message: "Select the object to remove first.", code: "NO_OBJECT" });
    return;
  }
  if (store.selected === object) select(null);
  change((stream) => api.remove(stream, object));
}

export const rename = (object, label) => change((stream) => api.rename(stream, object, label));

/** Select an object; null for none. `from`: first frame on which it must exist. */
export function select(object, from = 0) {
  update({ selected: object, selectedFrom: from, negative: object === null ? false : store.negative });
}

export function reset() {
  select(null);
  return change((stream) => api.reset(stream));
}

/** Find objects without a click, or stop doing so; the next status of the stream shows the result. */
export const toggleFind = () => attempt(() => api.setFind(store.stream, !isFinding()));

/** Pause or resume tracking; the next status of the stream shows the result. */
export function togglePause() {
  const request = isPaused() ? api.resume : api.pause;
  return attempt(() => request(store.stream));
}

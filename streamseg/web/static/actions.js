// What clicks, keys and buttons do. Errors become notifications.

import { clearErrors, showError } from "./notifications.js";
import { api } from "./api.js";
import { candidateOf, forgetCandidate } from "./candidates.js";
import { isFinding, isFound, isPaused, store, update, watches } from "./store.js";

/** How long the daemon can undo a change. */
const UNDO_MS = 60000;
/** Stream -> until when its last change can be undone or redone, as far as is known. */
const undoable = new Map();
const redoable = new Map();
const note = (changes, stream) => changes.set(stream, performance.now() + UNDO_MS);
const has = (changes) => changes.get(store.stream) > performance.now();
const refuse = (code, message) => watches || showError({ code, message });

function noteChange(stream) {
	note(undoable, stream);
	redoable.delete(stream);
}

export function noteEvent({ stream, kind, t_wall_ms: at }) {
	if (at <= performance.timeOrigin) return;
	if (kind === "worker_restarted") forgetChanges();
	if (["object_added", "object_removed", "tracker_reset"].includes(kind)) note(undoable, stream);
}

/** A new worker does not know the changes that were made before it started. */
function forgetChanges() {
	if (canUndo()) refuse("WORKER_RESTARTED", "The tracker was restarted: changes from before can no longer be undone.");
	undoable.clear();
	redoable.clear();
}

async function attempt(action) {
	if (watches) return null;
	try {
		const result = await action();
		clearErrors();
		return result;
	} catch (error) {
		showError(error, error.retryable ? { label: "Try again", run: () => attempt(action) } : null);
		return null;
	}
}

/** Send a prompt, { points } or { box }, normalized, for the picture with this header. */
export async function sendPrompt(prompt, header, onExpired = "error") {
	if (watches) return;
	const objectId = store.selected;
	const negative = prompt.points?.every(([, , label]) => label === 0);
	if (negative && objectId === null) {
		refuse("NO_OBJECT", "Select an object first: a negative click removes a part of it.");
		return;
	}
	const request = { ...prompt, ...candidateOf(prompt), object_id: objectId, frame: header.frame, on_expired: onExpired };
	try {
		const result = await api.prompt(header.stream, request);
		clearErrors();
		noteChange(header.stream);
		forgetCandidate();
		if (header.stream === store.stream) select(result.object_id, result.newest + 1);
	} catch (error) {
		const retry = { label: "Try again", run: () => sendPrompt(prompt, header, onExpired) };
		const newest = { label: "Use the newest picture", run: () => sendPrompt(prompt, header, "newest") };
		showError(error, error.code === "FRAME_EXPIRED" ? newest : error.retryable ? retry : null);
	}
}

export const canUndo = () => has(undoable);

export const canRedo = () => has(redoable);

/** `request` reports how many changes are left. */
async function move(from, to, request) {
	const { stream } = store;
	const result = await attempt(() => request(stream));
	if (result) note(to, stream);
	if (!result || result.left === 0) from.delete(stream);
}

export function undo() {
	if (canUndo()) return move(undoable, redoable, api.undo);
	refuse("NOTHING_TO_UNDO", "There is nothing to undo: a change can be undone for a minute.");
}

export function redo() {
	if (canRedo()) return move(redoable, undoable, api.redo);
	refuse("NOTHING_TO_REDO", "There is nothing to do again: undo a change first.");
}

async function change(action) {
	const { stream } = store;
	await attempt(async () => {
		await action(stream);
		noteChange(stream);
	});
}

export function remove(object) {
	if (object === null) {
		refuse("NO_OBJECT", "Select the object to remove first.");
		return;
	}
	if (store.selected === object) select(null);
	change((stream) => api.remove(stream, object));
}

export const rename = (object, label) => change((stream) => api.rename(stream, object, label));

/** Keep a found object: one that was named, even if by nothing, is the user's. */
export function confirm(id) {
	const object = store.frame?.objects.find((each) => each.id === id);
	if (object && isFound(object)) rename(id, object.label);
}

/** Select an object; null for none. `from`: first frame on which it must exist. */
export function select(object, from = 0) {
	update({ selected: object, selectedFrom: from, negative: object === null ? false : store.negative });
}

export function reset() {
	select(null);
	return change((stream) => api.reset(stream));
}

export const toggleFind = () => attempt(() => api.setFind(store.stream, !isFinding()));

export const togglePause = () => attempt(() => (isPaused() ? api.resume : api.pause)(store.stream));

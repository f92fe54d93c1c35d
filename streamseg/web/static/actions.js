// What clicks, keys and buttons do. Errors become notifications.

import { clearErrors, showError } from "./notifications.js";
import { api } from "./api.js";
import { candidateOf, forgetCandidate } from "./candidates.js";
import { isFinding, isFound, isPaused, objectOf, store, update, watches } from "./store.js";

/** How long the daemon can undo a change. */
const UNDO_MS = 60000;
/** Stream -> until when its last change can be undone or redone, as far as is known. */
const undoable = new Map();
const redoable = new Map();
function note(changes, stream) {
	changes.set(stream, performance.now() + UNDO_MS);
	update({ changes });
}

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

/** How often the selection was changed. */
let choices = 0;
/** The prompt that starts an object, until it is answered with its id: what is clicked meanwhile improves that object. */
let starting = null;

/** Send a prompt, { points } or { box }, normalized, for the picture with this header. */
export async function sendPrompt(prompt, header, onExpired = "error") {
	if (watches) return;
	const objectId = starting ? await starting : store.selected;
	const negative = prompt.points?.every(([, , label]) => label === 0);
	if (negative && objectId === null) {
		refuse("NO_OBJECT", "Select an object first: a negative click removes a part of it.");
		return;
	}
	const sent = requestPrompt(prompt, header, objectId, onExpired);
	if (objectId === null) starting = sent;
	await sent;
	if (starting === sent) starting = null;
}

/** Returns the id of the object; null if it failed. */
async function requestPrompt(prompt, header, objectId, onExpired) {
	const { stream, frame } = header, before = choices;
	try {
		const request = { ...prompt, ...candidateOf(prompt), object_id: objectId, frame, on_expired: onExpired };
		const { object_id: id, newest } = await api.prompt(stream, request);
		clearErrors();
		noteChange(stream);
		forgetCandidate();
		if (stream === store.stream && choices === before) select(id, newest + 1);
		return id;
	} catch (error) {
		const retry = { label: "Try again", run: () => sendPrompt(prompt, header, onExpired) };
		const newest = { label: "Use the newest picture", run: () => sendPrompt(prompt, header, "newest") };
		showError(error, error.code === "FRAME_EXPIRED" ? newest : error.retryable ? retry : null);
		return null;
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

export const undo = () => move(undoable, redoable, api.undo);

export const redo = () => move(redoable, undoable, api.redo);

async function change(action) {
	const { stream } = store;
	await attempt(async () => {
		await action(stream);
		noteChange(stream);
	});
}

export function remove(object) {
	if (store.selected === object) select(null);
	change((stream) => api.remove(stream, object));
}

export const rename = (object, label) => change((stream) => api.rename(stream, object, label));

/** Keep a found object: one that was named, even if by nothing, is the user's. */
export function confirm(id) {
	const object = objectOf(id);
	if (object && isFound(object)) rename(id, object.label);
}

/** Select an object; null for none. `from`: first frame on which it must exist. */
export function select(object, from = 0) {
	choices++;
	starting = null;
	update({ selected: object, selectedFrom: from, negative: object === null ? false : store.negative });
}

export function reset() {
	select(null);
	return change((stream) => api.reset(stream));
}

export const toggleFind = () => attempt(() => api.setFind(store.stream, !isFinding()));

export const togglePause = () => attempt(() => (isPaused() ? api.resume : api.pause)(store.stream));

// The buttons above the picture, and the hint below it.

import { canRedo, canUndo, redo, remove, reset, select, toggleFind, togglePause, undo } from "./actions.js";
import { askFirst } from "./ask_first.js";
import { candidateHint, nextCandidate } from "./candidates.js";
import { find, findAll, setPressed, setText, throttle } from "./dom.js";
import { regionHint } from "./regions.js";
import { isFinding, isPaused, on, store, watches } from "./store.js";

const TOUCH = matchMedia("(pointer: coarse)").matches;
const buttons = findAll("new-object negative candidate undo redo remove find pause reset");

function show() {
	const { selected } = store;
	const paused = isPaused();
	setPressed(buttons.newObject, selected === null);
	setPressed(buttons.pause, paused);
	setPressed(buttons.find, isFinding());
	setPressed(buttons.candidate, store.candidate !== null);
	setText(buttons.pause, paused ? "Resume" : "Pause");
	buttons.negative.disabled = buttons.remove.disabled = selected === null;
	showAvailable();
	if (!watches) setText(find("#no-objects"), `No objects yet: ${TOUCH ? "tap" : "click"} one in the picture.`);
	setText(find("#hint"), regionHint(TOUCH) || promptHint() + candidateHint() + (paused ? " Tracking is paused." : findHint()));
}

function promptHint() {
	const { selected, negative } = store;
	const click = TOUCH ? "Tap" : "Click";
	if (negative) return `${click} a part that does not belong to object ${selected}.`;
	if (selected === null) return TOUCH ? "Tap an object to track it." : "Click an object to track it, or drag a box around it.";
	return `${click} to add to object ${selected}, ${TOUCH ? "hold" : "shift-click"} to exclude a part. ${TOUCH ? "New" : "Esc"}: another object.`;
}

/** What the search for objects does; on a slow machine it takes a while. */
function findHint() {
	const { find } = store.statuses.get(store.stream) ?? {};
	if (!find) return "";
	if (!find.looks) return " Find takes its first look.";
	return ` Find has taken ${find.looks} look${find.looks > 1 ? "s" : ""}${find.tentative ? `, is not yet sure of ${find.tentative} object${find.tentative > 1 ? "s" : ""}` : ""}.`;
}

/** Switch off the buttons that have nothing to do. */
function showAvailable() {
	buttons.undo.disabled = !canUndo();
	buttons.redo.disabled = !canRedo();
	buttons.reset.disabled = !store.frame?.objects.length;
}

export function initToolbar() {
	buttons.newObject.onclick = () => select(null);
	buttons.candidate.onclick = nextCandidate;
	buttons.undo.onclick = undo;
	buttons.redo.onclick = redo;
	buttons.remove.onclick = () => remove(store.selected);
	buttons.pause.onclick = togglePause;
	askFirst(buttons.reset, "Really?", reset);
	buttons.find.onclick = toggleFind;
	find("#help-button").onclick = () => find("#help").showModal();
	on("selected negative candidate drawing editing statuses stream changes", show);
	on("frame", throttle(200, showAvailable));
	show();
}

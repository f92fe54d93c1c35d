// The buttons above the picture, and the hint below it.

import { canRedo, canUndo, redo, remove, reset, select, toggleFind, togglePause, undo } from "./actions.js";
import { askFirst } from "./ask_first.js";
import { candidateHint, nextCandidate } from "./candidates.js";
import { find, setText, throttle } from "./dom.js";
import { isFinding, isPaused, on, store, update } from "./store.js";

const TOUCH = matchMedia("(pointer: coarse)").matches;
const buttons = {
  newObject: find("#new-object"), negative: find("#negative"), candidate: find("#candidate"), undo: find("#undo"), redo: find("#redo"), remove: find("#remove"),
  autofind: find("#find"), pause: find("#pause"), reset: find("#reset"),
};

/** Press the reset button. */
export const confirmReset = askFirst(buttons.reset, " Really?", reset);

function show() {
  const { selected, negative } = store;
  const paused = isPaused();
  buttons.newObject.setAttribute("aria-pressed", String(selected === null));
  buttons.negative.setAttribute("aria-pressed", String(negative));
  buttons.pause.setAttribute("aria-pressed", String(paused));
  buttons.autofind.setAttribute("aria-pressed", String(isFinding()));
  buttons.candidate.setAttribute("aria-pressed", String(store.candidate !== null));
  setText(buttons.pause.lastChild, paused ? " Resume" : " Pause");
  buttons.negative.disabled = buttons.remove.disabled = selected === null;
  showAvailable();
  const name = selected === null ? "" : ` ${selected}`;
  const click = TOUCH ? "Tap" : "Click";
  let hint = TOUCH ? "Tap an object to track it." : "Click an object to track it, or drag a box around it.";
  if (selected !== null) hint = `${click} to add to object${name}, ${TOUCH ? "hold" : "shift-click"} to exclude a part. ${TOUCH ? "New" : "Esc"}: another object.`;
  if (negative) hint = `${click} a part that does not belong to object${name}.`;
  hint += candidateHint();
  if (store.drawing) hint = drawingHint(click);
  if (paused) hint += " Tracking is paused.";
  setText(find("#hint"), hint);
}

function drawingHint(click) {
  if (store.drawing.kind === "line") return `${click} the two ends of the line. The arrow will point forward. Esc: cancel.`;
  return `${click} the corners of the zone; the first one again, or Done, ends it. Esc: cancel.`;
}

/** Switch off the buttons that have nothing to do. */
function showAvailable() {
  buttons.undo.disabled = !canUndo();
  buttons.redo.disabled = !canRedo();
  buttons.reset.disabled = !store.frame?.objects.length;
}

/** Listen to the buttons. */
export function initToolbar() {
  buttons.newObject.onclick = () => select(null);
  buttons.negative.onclick = () => update({ negative: !store.negative });
  buttons.candidate.onclick = nextCandidate;
  buttons.undo.onclick = undo;
  buttons.redo.onclick = redo;
  buttons.remove.onclick = () => remove(store.selected);
  buttons.pause.onclick = togglePause;
  buttons.autofind.onclick = toggleFind;
  find("#help-button").onclick = () => find("#help").showModal();
  on("selected negative candidate drawing statuses stream", show);
  on("frame", throttle(200, showAvailable));
  show();
}

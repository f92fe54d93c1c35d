// The buttons over the picture, and the line below that says what a click would do.

import { remove, reset, select, togglePause, undo } from "./actions.js";
import { find, say } from "./dom.js";
import { isPaused, on, store, update } from "./store.js";

const ARMED_MS = 3000;
const buttons = {
  fresh: find("#new-object"), negative: find("#negative"), undo: find("#undo"), remove: find("#remove"),
  pause: find("#pause"), reset: find("#reset"),
};

/** Reset asks once more, on the button itself, and forgets the question after a while. */
export function armReset() {
  const button = buttons.reset;
  if ("armed" in button.dataset) {
    disarm();
    reset();
    return;
  }
  button.dataset.armed = "";
  say(button.lastChild, " Really?");
  setTimeout(disarm, ARMED_MS);
}

function disarm() {
  delete buttons.reset.dataset.armed;
  say(buttons.reset.lastChild, " Reset");
}

function show() {
  const { selected, negative } = store;
  const paused = isPaused();
  buttons.fresh.setAttribute("aria-pressed", String(selected === null));
  buttons.negative.setAttribute("aria-pressed", String(negative));
  buttons.pause.setAttribute("aria-pressed", String(paused));
  say(buttons.pause.lastChild, paused ? " Resume" : " Pause");
  buttons.negative.disabled = buttons.remove.disabled = selected === null;
  const whose = selected === null ? "" : ` ${selected}`;
  let hint = "Click an object to follow it, or drag a box around it.";
  if (selected !== null) hint = `Click what belongs to object${whose}; shift-click or hold what does not. Esc: a new object.`;
  if (negative) hint = `Click what does not belong to object${whose}.`;
  if (paused) hint += " Tracking is paused.";
  say(find("#hint"), hint);
}

/** Listen to the buttons. */
export function listenToToolbar() {
  buttons.fresh.onclick = () => select(null);
  buttons.negative.onclick = () => update({ negative: !store.negative });
  buttons.undo.onclick = undo;
  buttons.remove.onclick = () => remove(store.selected);
  buttons.pause.onclick = togglePause;
  buttons.reset.onclick = armReset;
  find("#help-button").onclick = () => find("#help").showModal();
  on("selected negative statuses watched", show);
  show();
}

// Errors as notes in the corner: they say the mend, offer to try again, and block nothing.

import { find, make } from "./dom.js";

const SHOWN_MS = 12000;
const MOST = 4;

/** Show an error. `mend`: { label, work } of a button that may put it right. */
export function showFault(error, mend = null) {
  const box = find("#faults");
  const close = make("button", { type: "button", "aria-label": "Dismiss" }, "✕");
  const note = make("div", { class: "fault" }, make("p", {}, error.message, make("code", {}, error.code ?? error.name)));
  if (mend) {
    const again = make("button", { type: "button" }, mend.label);
    again.onclick = () => { note.remove(); mend.work(); };
    note.append(again);
  }
  note.append(close);
  close.onclick = () => note.remove();
  box.append(note);
  while (box.children.length > MOST) box.firstElementChild.remove();
  setTimeout(() => note.remove(), SHOWN_MS);
}

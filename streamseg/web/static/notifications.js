// Errors as notifications in the corner.

import { find, make, makeButton } from "./dom.js";

const SHOWN_MS = 12000;
const MAX_SHOWN = 4;

/** Something worked: earlier errors are over. */
export const clearErrors = () => find("#notifications").replaceChildren();

/** Show an error. `action`: { label, run } of a button that may fix it. */
export function showError(error, action = null) {
	const box = find("#notifications");
	const code = make("code", {}, error.code ?? error.name);
	const notification = make("div", { class: "notification" }, make("p", {}, error.message, code));
	const close = () => notification.remove();
	if (action) notification.append(makeButton(action.label, () => { close(); action.run(); }));
	notification.append(makeButton("✕", close, { "aria-label": "Dismiss" }));
	box.append(notification);
	while (box.children.length > MAX_SHOWN) box.firstElementChild.remove();
	setTimeout(close, SHOWN_MS);
}

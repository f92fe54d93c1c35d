// Errors as notifications in the corner. They say how to fix the problem and block nothing.

import { find, make } from "./dom.js";

const SHOWN_MS = 12000;
const MAX_SHOWN = 4;

/** Something worked: earlier errors are over. */
export const clearErrors = () => find("#notifications").replaceChildren();

/** Show an error. `action`: { label, run } of a button that may fix it. */
export function showError(error, action = null) {
	const box = find("#notifications");
	const close = make("button", { type: "button", "aria-label": "Dismiss" }, "✕");
	const code = make("code", {}, error.code ?? error.name);
	const notification = make("div", { class: "notification" }, make("p", {}, error.message, code));
	if (action) {
		const button = make("button", { type: "button" }, action.label);
		button.onclick = () => { notification.remove(); action.run(); };
		notification.append(button);
	}
	notification.append(close);
	close.onclick = () => notification.remove();
	box.append(notification);
	while (box.children.length > MAX_SHOWN) box.firstElementChild.remove();
	setTimeout(() => notification.remove(), SHOWN_MS);
}

// Buttons that ask before they do what cannot be undone.

import { setText } from "./dom.js";
import { on } from "./store.js";

const ASK_MS = 3000;

/** The first press asks by the button's text, the second runs `action`. */
export function askFirst(button, question, action) {
	const label = button.textContent;
	const forget = () => {
		delete button.dataset.confirm;
		setText(button, label);
	};
	button.onclick = () => {
		if ("confirm" in button.dataset) {
			forget();
			action();
			return;
		}
		button.dataset.confirm = "";
		setText(button, question);
		setTimeout(forget, ASK_MS);
	};
	on("stream", forget); // the question was about the other stream
}

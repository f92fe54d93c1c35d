// The dialog with the address of this view and code that subscribes to the stream.

import { api } from "./api.js";
import { copyText, find, setText } from "./dom.js";
import { store } from "./store.js";

const dialog = find("#share");

async function showCode() {
	const code = find("#share-code");
	try {
		code.textContent = await api.program(store.stream, find("#share-language").value);
	} catch (error) {
		code.textContent = error.message;
	}
}

export function showShare() {
	setText(find("#share-link"), location.href);
	showCode();
	dialog.showModal();
}

export function initShare() {
	find("#share-language").onchange = showCode;
	for (const button of dialog.querySelectorAll("button[data-copy]")) {
		const source = find(`#${button.dataset.copy}`);
		button.onclick = () => copyText(button, source.textContent, source);
	}
}

// The dialog that tests an address, shows its first picture, and adds the camera.

import { api } from "./api.js";
import { find, findAll, make, setText } from "./dom.js";
import { showError } from "./notifications.js";

const dialog = find("#camera");
const { cameraSource, cameraName, cameraTransport, cameraTest, cameraAdd, cameraClose, cameraResult } = findAll(
	"camera-source camera-name camera-transport camera-test camera-add camera-close camera-result");
let showStream = null;
/** What the last successful test saw: only that can be added. */
let tested = "";
/** Number of the newest request: answers to earlier ones are ignored. */
let asking = 0;

const entry = () => ({ source: cameraSource.value.trim(), transport: cameraTransport.value });

function say(text, level = "") {
	cameraResult.replaceChildren(make("p", { "data-level": level }, text));
}

function busy(what) {
	cameraTest.disabled = what !== "";
	cameraAdd.disabled = what !== "" || JSON.stringify(entry()) !== tested;
	setText(cameraTest, what || "Test");
}

async function test() {
	const asked = entry(), number = ++asking;
	if (!asked.source) { say("Enter the address of the camera.", "bad"); cameraSource.focus(); return; }
	tested = "";
	busy("Testing …");
	say("Opening the camera. This takes up to half a minute.");
	try {
		const report = await api.probe(asked);
		if (number !== asking) return;
		tested = JSON.stringify(asked);
		const picture = make("img", { alt: "First picture of the camera" });
		const bytes = Uint8Array.from(atob(report.picture), (char) => char.charCodeAt(0));
		picture.onload = () => URL.revokeObjectURL(picture.src);
		picture.src = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
		cameraResult.replaceChildren(picture, make("p", { "data-level": "good" }, report.summary));
		cameraName.value ||= report.name;
	} catch (error) {
		if (number !== asking) return;
		say(error.message, "bad");
	}
	busy("");
	if (tested) cameraAdd.focus();
}

async function add() {
	const name = cameraName.value.trim();
	busy("Adding …");
	const number = ++asking;
	try {
		await api.addStream(name, entry());
	} catch (error) {
		if (number !== asking) return showError(error);
		say(error.message, "bad");
		busy("");
		return;
	}
	if (number !== asking) return;
	dialog.close();
	showStream(name);
}

function clear() {
	tested = "";
	asking++;
	for (const field of [cameraSource, cameraName]) field.value = "";
	cameraResult.replaceChildren();
	busy("");
}

/** `show(id)`: show a stream as soon as it exists. */
export function initAddCamera(show) {
	showStream = show;
	find("#add-camera").onclick = () => { clear(); dialog.showModal(); };
	cameraClose.onclick = () => dialog.close();
	cameraSource.oninput = cameraTransport.onchange = () => busy("");
	dialog.querySelector("form").onsubmit = (event) => {
		event.preventDefault();
		test();
	};
	cameraAdd.onclick = add;
}

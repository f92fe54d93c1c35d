// The settings of the shown stream.

import { api } from "./api.js";
import { askFirst } from "./ask_first.js";
import { copyText, find, make, makeButton, reconcile, setPressed, setText } from "./dom.js";
import { showError } from "./notifications.js";
import {
	KINDS, cancelDrawing, changeRegion, changeSettings, chooseCorner, finishDrawing, hasName, insertCorner, loadSettings, regions, removeCorner, startDrawing,
} from "./regions.js";
import { on, store } from "./store.js";

const panel = find("#settings-panel");
/** Setting -> [name, choices or [smallest, largest, step], what it does]. */
const FIELDS = {
	lost_after_s: ["Lost after (s)", [0.1, 3600, 0.1], "An object that is not visible for this long is lost."],
	uncertain_below: ["Uncertain below", [0, 1, 0.05], "An object whose confidence stays below this is uncertain."],
	mask_cleanup: ["Remove specks (px)", [0, 1000000, 1], "Removes specks and fills holes smaller than this."],
	overlap: ["Masks may overlap", { allowed: "yes", exclusive: "no" }, "Whether two masks may share pixels."],
	repeat_static: ["Skip still pictures", { false: "no", true: "yes" }, "Repeats the masks while nothing changes."],
	on_discontinuity: ["After a gap", { keep: "keep objects", reset: "remove objects", reprompt: "mark them again" }, "What happens to the objects after a reconnect."],
};
const inputs = new Map();
const drawButtons = document.querySelectorAll("[data-draw]");

function makeFields() {
	for (const [name, [label, choices, title]] of Object.entries(FIELDS)) {
		const numeric = Array.isArray(choices);
		const input = numeric ? make("input", { type: "number", min: choices[0], max: choices[1], step: choices[2] })
			: make("select", {}, ...Object.entries(choices).map(([value, text]) => make("option", { value }, text)));
		input.onchange = () => {
			if (!input.reportValidity()) return;
			const value = numeric ? Number(input.value) : name === "repeat_static" ? input.value === "true" : input.value;
			changeSettings(() => ({ [name]: value }));
		};
		inputs.set(name, input);
		find("#settings-fields").append(make("label", { title }, label, input));
	}
}

const regionId = (region) => region && `${region.kind} ${region.key}`;

/** Region id -> { element, region, name }. A row stays with its region: no click, focus or typed name is lost. */
const rows = new Map();

function makeRegion(region) {
	const { kind, key } = region;
	const row = { region };
	const title = hasName(kind) ? key : `${KINDS[kind]} ${key + 1}`;
	const name = row.name = hasName(kind) ? make("input", { maxlength: "64", "aria-label": `Name of ${key}` }) : make("span", {}, `area ${key + 1}`);
	name.onchange = () => name.value.trim() ? changeRegion(row.region, { name: name.value.trim() }) : showRegions();
	const editCorners = () => {
		if (regionId(store.editing) === regionId(region)) { cancelDrawing(); return; }
		chooseCorner(row.region, 0);
		find("#overlay").focus();
	};
	const corners = makeButton("✎", editCorners, {
		"aria-label": `Corners of ${title}`, title: "Move its corners with the mouse or the arrow keys", "data-region": regionId(region),
	});
	const remove = makeButton("✕", () => changeRegion(row.region, { removed: true }), { "aria-label": `Remove ${title}` });
	row.element = make("li", {}, make("span", {}, KINDS[kind]), name, corners, remove);
	return row;
}

function showRegions() {
	const list = find("#regions"), focused = document.activeElement;
	const place = [...list.children].findIndex((row) => row.contains(focused));
	const part = [...list.children[place]?.children ?? []].indexOf(focused);
	const shown = new Map(regions().map((region) => [regionId(region), region]));
	reconcile(list, rows, [...shown.keys()], (id) => makeRegion(shown.get(id)));
	for (const [id, row] of rows) {
		row.region = shown.get(id);
		if (row.name !== focused) row.name.value = row.region.key;
	}
	if (part === 1 && !focused.isConnected) list.children[place]?.children[part].focus(); // it was renamed
	showEdited();
}

function showEdited() {
	const { editing } = store;
	for (const button of document.querySelectorAll("[data-region]")) setPressed(button, button.dataset.region === regionId(editing));
	find("#corner-buttons").hidden = !editing || editing.kind === "line";
}

function show() {
	const { settings, drawing } = store;
	panel.hidden = !store.settingsOpen || store.grid || store.stream === null;
	find("#settings-button").setAttribute("aria-expanded", String(!panel.hidden));
	if (panel.hidden) return;
	setText(find("#settings-stream"), store.stream);
	find("#settings-none").hidden = settings !== null;
	find("#settings-body").hidden = settings === null;
	if (!settings) return;
	const values = settings.settings;
	for (const [name, input] of inputs) if (document.activeElement !== input) input.value = String(values[name]);
	for (const button of drawButtons) setPressed(button, drawing?.kind === button.dataset.draw);
	find("#draw-done").hidden = !drawing || drawing.kind === "line";
	find("#draw-done").disabled = !(drawing?.corners.length > 2);
	setText(find("#settings-note"), settings.from_file
		? "Changes last until the configuration file is loaded again. To keep them, copy them into it."
		: "");
}

function asYaml() {
	const lines = Object.entries(store.settings.settings).map(([name, value]) => `  ${name}: ${JSON.stringify(value)}\n`);
	return `${store.stream}:\n${lines.join("")}`;
}

async function removeStream() {
	try {
		await api.removeStream(store.stream);
	} catch (error) {
		showError(error);
	}
}

const toggleDrawing = (kind) => store.drawing?.kind === kind ? cancelDrawing() : startDrawing(kind);

export function initSettings(setOpen) {
	makeFields();
	find("#settings-button").onclick = () => {
		setOpen(!store.settingsOpen);
		if (!store.settingsOpen) { cancelDrawing(); return; }
		loadSettings();
		panel.scrollIntoView({ block: "nearest" }); // on a phone it is below the picture
	};
	for (const button of drawButtons) button.onclick = () => toggleDrawing(button.dataset.draw);
	find("#draw-done").onclick = finishDrawing;
	find("#add-corner").onclick = insertCorner;
	find("#remove-corner").onclick = removeCorner;
	find("#settings-copy").onclick = (event) => copyText(event.currentTarget, asYaml());
	askFirst(find("#remove-stream"), "Really remove it?", removeStream);
	on("settings drawing stream grid settingsOpen", show);
	on("settings settingsOpen", showRegions);
	on("editing", showEdited);
}

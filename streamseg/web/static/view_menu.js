// How the picture is shown, and what can be saved of it.

import { saveSnapshot, toggleRecording } from "./capture.js";
import { find, findAll, make, setPressed, setText } from "./dom.js";
import { EFFECTS } from "./effects.js";
import { pageCount, streamAt } from "./grid.js";
import { initShare, showShare } from "./share.js";
import { on, store, toggle, update } from "./store.js";
import { resetZoom } from "./zoom.js";

const controls = findAll("effect opacity zoom grid turn fullscreen snapshot record share-button");
let lastGrid = "all";

export function toggleFullscreen() {
	if (document.fullscreenElement) document.exitFullscreen();
	else find(store.grid ? "#tiles" : "#frame").requestFullscreen?.().catch(() => {});
}

export function nextEffect() {
	const names = Object.keys(EFFECTS);
	update({ effect: names[(names.indexOf(store.effect) + 1) % names.length] });
}

export const toggleGrid = () => update({ grid: store.grid ? null : lastGrid });

function show() {
	lastGrid = store.grid ?? lastGrid;
	controls.effect.value = store.effect;
	controls.opacity.value = String(store.opacity);
	controls.opacity.disabled = store.effect !== "color";
	setPressed(controls.record, store.recording);
	setText(controls.record, { clip: "Wait", true: "Stop" }[store.recording] ?? "Record");
	controls.grid.value = store.grid ?? "";
	controls.grid.parentElement.hidden = store.streams.length < 2 && !store.grid;
	controls.turn.hidden = !store.grid || pageCount() < 2;
	controls.snapshot.disabled = store.frame === null && !store.grid;
	controls.record.disabled = controls.snapshot.disabled || store.recording === "clip";
}

function showZoom() {
	controls.zoom.hidden = store.zoom.scale === 1;
	setText(controls.zoom, `${store.zoom.scale.toFixed(1)}×`);
}

export function initViewMenu(showStream) {
	for (const [effect, name] of Object.entries(EFFECTS)) controls.effect.append(make("option", { value: effect }, name));
	for (const button of document.querySelectorAll("[data-toggle]")) {
		const field = button.dataset.toggle;
		const showField = () => setPressed(button, store[field]);
		button.onclick = () => toggle(field);
		on(field, showField);
		showField();
	}
	controls.effect.onchange = () => update({ effect: controls.effect.value });
	controls.opacity.oninput = () => update({ opacity: Number(controls.opacity.value) });
	controls.grid.onchange = () => update({ grid: controls.grid.value || null });
	controls.turn.onclick = () => showStream(streamAt(1));
	controls.zoom.onclick = resetZoom;
	controls.fullscreen.onclick = toggleFullscreen;
	controls.snapshot.onclick = saveSnapshot;
	controls.record.onclick = toggleRecording;
	controls.shareButton.onclick = showShare;
	initShare();
	let hadFrame = false;
	on("frame", () => { if (hadFrame !== (store.frame !== null)) { hadFrame = !hadFrame; show(); } });
	on("effect opacity recording streams grid", show);
	on("zoom", showZoom);
	show();
}

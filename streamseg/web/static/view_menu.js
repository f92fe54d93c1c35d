// The controls below the picture: how it is shown, and what can be saved of it.

import { saveSnapshot, toggleRecording } from "./capture.js";
import { find, make, setText } from "./dom.js";
import { EFFECTS } from "./effects.js";
import { initShare, showShare } from "./share.js";
import { on, store, update } from "./store.js";
import { resetZoom } from "./zoom.js";

const controls = {
  effect: find("#effect"), opacity: find("#opacity"), labels: find("#labels"), trails: find("#trails"), preview: find("#preview"),
  zoom: find("#zoom"), grid: find("#grid"), fullscreen: find("#fullscreen"), snapshot: find("#snapshot"), record: find("#record"), share: find("#share-button"),
};

export function toggleFullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else find("#frame").requestFullscreen?.().catch(() => {});
}

/** The next effect in the list. */
export function nextEffect() {
  const names = Object.keys(EFFECTS);
  update({ effect: names[(names.indexOf(store.effect) + 1) % names.length] });
}

function show() {
  controls.effect.value = store.effect;
  controls.opacity.value = String(store.opacity);
  controls.opacity.disabled = store.effect !== "color";
  controls.labels.setAttribute("aria-pressed", String(store.labels));
  controls.trails.setAttribute("aria-pressed", String(store.trails));
  controls.preview.setAttribute("aria-pressed", String(store.preview));
  controls.record.setAttribute("aria-pressed", String(store.recording));
  setText(controls.record.lastChild, store.recording ? " Stop" : " Record");
  controls.grid.setAttribute("aria-pressed", String(store.grid));
  controls.grid.hidden = store.streams.length < 2 && !store.grid;
  controls.snapshot.disabled = controls.record.disabled = store.frame === null;
}

function showZoom() {
  controls.zoom.hidden = store.zoom.scale === 1;
  setText(controls.zoom, `${store.zoom.scale.toFixed(1)}×`);
}

export function initViewMenu() {
  for (const [effect, name] of Object.entries(EFFECTS)) controls.effect.append(make("option", { value: effect }, name));
  controls.effect.onchange = () => update({ effect: controls.effect.value });
  controls.opacity.oninput = () => update({ opacity: Number(controls.opacity.value) });
  controls.labels.onclick = () => update({ labels: !store.labels });
  controls.trails.onclick = () => update({ trails: !store.trails });
  controls.preview.onclick = () => update({ preview: !store.preview });
  controls.grid.onclick = () => update({ grid: !store.grid });
  controls.zoom.onclick = resetZoom;
  controls.fullscreen.onclick = toggleFullscreen;
  controls.snapshot.onclick = saveSnapshot;
  controls.record.onclick = toggleRecording;
  controls.share.onclick = showShare;
  initShare();
  let hadFrame = false;
  on("frame", () => { if (hadFrame !== (store.frame !== null)) { hadFrame = !hadFrame; show(); } });
  on("effect opacity labels trails preview recording streams grid", show);
  on("zoom", showZoom);
  show();
}

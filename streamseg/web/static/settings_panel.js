// The panel with the settings of the shown stream: zones and lines, how objects are judged, and removal.

import { api } from "./api.js";
import { askFirst } from "./ask_first.js";
import { find, make, setText } from "./dom.js";
import { showError } from "./notifications.js";
import { cancelDrawing, changeSettings, finishDrawing, loadSettings, startDrawing } from "./regions.js";
import { on, store } from "./store.js";

const panel = find("#settings-panel");
/** Setting -> [what it is, its choices or [smallest, largest, step], what it does]. */
const FIELDS = {
  lost_after_s: ["Lost after (s)", [0.1, 3600, 0.1], "An object that is not visible for this long is lost."],
  uncertain_below: ["Uncertain below", [0, 1, 0.05], "An object whose confidence stays below this is uncertain."],
  mask_cleanup: ["Remove specks (px)", [0, 1000000, 1], "Removes specks and fills holes smaller than this."],
  overlap: ["Masks may overlap", { allowed: "yes", exclusive: "no" }, "Whether two masks may share pixels."],
  repeat_static: ["Skip still pictures", { false: "no", true: "yes" }, "Repeats the masks while nothing changes."],
  on_discontinuity: ["After a gap", { keep: "keep objects", reset: "remove objects", reprompt: "mark them again" }, "What happens to the objects after a reconnect."],
};
const inputs = new Map();

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

function makeRegion(group, name) {
  const input = make("input", { value: name, maxlength: "64", "aria-label": `Name of ${name}` });
  const remove = make("button", { type: "button", "aria-label": `Remove ${name}` }, "✕");
  const replace = (newName) => changeSettings((settings) => {
    const regions = Object.entries(settings[group]);
    const renamed = regions.flatMap(([key, region]) => key !== name ? [[key, region]] : newName ? [[newName, region]] : []);
    return { [group]: Object.fromEntries(renamed) };
  });
  input.onchange = () => input.value.trim() ? replace(input.value.trim()) : show();
  remove.onclick = () => replace(null);
  return make("li", {}, make("span", {}, group === "zones" ? "zone" : "line"), input, remove);
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
  const regions = ["zones", "lines"].flatMap((group) => Object.keys(values[group]).map((name) => makeRegion(group, name)));
  find("#regions").replaceChildren(...regions);
  find("#draw-zone").setAttribute("aria-pressed", String(drawing?.kind === "zone"));
  find("#draw-line").setAttribute("aria-pressed", String(drawing?.kind === "line"));
  find("#draw-done").hidden = drawing?.kind !== "zone";
  find("#draw-done").disabled = !(drawing?.corners.length > 2);
  setText(find("#settings-note"), settings.from_file
    ? "Changes last until the configuration file is loaded again. To keep them, copy them into it."
    : "");
}

async function copySettings(button) {
  const text = `${store.stream}:\n${Object.entries(store.settings.settings).map(([name, value]) => `  ${name}: ${JSON.stringify(value)}`).join("\n")}\n`;
  let done = true;
  try { await navigator.clipboard.writeText(text); } catch { done = false; }
  setText(button, done ? "Copied" : "Needs HTTPS");
  setTimeout(() => setText(button, "Copy as YAML"), 2500);
}

async function removeStream() {
  try {
    await api.removeStream(store.stream);
  } catch (error) {
    showError(error);
  }
}

const toggle = (kind) => store.drawing?.kind === kind ? cancelDrawing() : startDrawing(kind);

/** Observe the store, and listen to the panel. `setOpen(bool)` opens and closes it. */
export function initSettings(setOpen) {
  makeFields();
  find("#settings-button").onclick = () => { setOpen(!store.settingsOpen); if (store.settingsOpen) loadSettings(); else cancelDrawing(); };
  find("#draw-zone").onclick = () => toggle("zone");
  find("#draw-line").onclick = () => toggle("line");
  find("#draw-done").onclick = finishDrawing;
  find("#settings-copy").onclick = (event) => copySettings(event.currentTarget);
  askFirst(find("#remove-stream"), "Really remove it?", removeStream);
  on("settings drawing stream grid settingsOpen", show);
}

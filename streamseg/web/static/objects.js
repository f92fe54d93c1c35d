// The list of objects: name, state, age, area over time, predicted quality.

import { remove, rename, select } from "./actions.js";
import { throttle, find, make, setText } from "./dom.js";
import { Plot } from "./plot.js";
import { on, store } from "./store.js";

const list = find("#objects");
/** Object id -> row. */
const rows = new Map();

class Row {
  constructor(object) {
    const { id } = object;
    this.selectButton = make("button", { type: "button", "aria-pressed": "false" }, String(id));
    this.selectButton.onclick = () => select(store.selected === id ? null : id);
    this.name = make("input", { maxlength: "100", placeholder: "name", "aria-label": `Name of object ${id}`, spellcheck: "false" });
    this.name.onchange = () => rename(id, this.name.value);
    this.name.onkeydown = (event) => {
      if (event.key === "Escape") { this.name.value = this.label; this.name.blur(); }
      if (event.key === "Enter") this.name.blur();
    };
    this.state = make("span", { class: "state" });
    const removeButton = make("button", { type: "button", "aria-label": `Remove object ${id}`, title: "Remove" }, "✕");
    removeButton.onclick = () => remove(id);
    this.age = make("span", { title: "age" });
    this.area = make("span", { title: "area: share of the picture" });
    this.score = make("meter", { min: "0", max: "1", low: "0.5", high: "0.75", optimum: "1", title: "predicted quality" });
    this.scoreText = make("span");
    this.plot = new Plot(object.colour, `Area of object ${id} in the last minute`);
    const figures = make("div", { class: "figures" }, this.age, this.area, this.plot.element, make("span", {}, this.score, " ", this.scoreText));
    this.element = make("li", { class: "object", "data-id": String(id) }, this.selectButton, this.name, this.state, removeButton, figures);
    this.element.style.borderLeftColor = object.colour;
  }

  show(object, pixels) {
    const selected = store.selected === object.id;
    this.selectButton.setAttribute("aria-pressed", String(selected));
    this.selectButton.setAttribute("aria-label", `Select object ${object.id} ${object.label}`.trim());
    this.element.toggleAttribute("data-selected", selected);
    this.label = object.label;
    if (document.activeElement !== this.name && this.name.value !== object.label) this.name.value = object.label;
    this.state.dataset.state = object.state;
    setText(this.state, object.state);
    setText(this.age, age(object.age_s));
    setText(this.area, `${(100 * object.area / pixels).toFixed(1)} %`);
    const known = object.confidence !== null;
    const quality = known ? object.confidence : object.score, name = known ? "confidence" : "predicted quality";
    this.score.value = quality;
    this.score.title = name;
    this.score.setAttribute("aria-label", `${name} ${quality.toFixed(2)}`);
    setText(this.scoreText, quality.toFixed(2));
    this.plot.draw();
  }
}

function age(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function show() {
  const objects = store.frame?.objects ?? [];
  const [width, height] = store.frame?.size ?? [1, 1];
  for (const [id, row] of rows) {
    if (objects.some((object) => object.id === id)) continue;
    row.element.remove();
    rows.delete(id);
  }
  for (const object of objects) {
    if (!rows.has(object.id)) {
      const row = new Row(object);
      rows.set(object.id, row);
      list.append(row.element);
    }
    rows.get(object.id).show(object, width * height);
  }
  setText(find("#objects-count"), objects.length ? String(objects.length) : "");
  find("#no-objects").hidden = objects.length > 0;
}

/** Observe the store. */
export function initObjects() {
  const showSoon = throttle(200, show);
  on("frame", () => {
    for (const object of store.frame?.objects ?? []) rows.get(object.id)?.plot.add(object.area);
    showSoon();
  });
  on("selected", show);
  on("stream", () => { rows.forEach((row) => row.element.remove()); rows.clear(); show(); });
}

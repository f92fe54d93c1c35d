// The list of objects: a live picture, name, state, area and confidence over time.

import { confirm, remove, rename, select } from "./actions.js";
import { throttle, find, make, makeButton, reconcile, setPressed, setText } from "./dom.js";
import { Plot } from "./plot.js";
import { isFound, on, store, watches } from "./store.js";
import { drawThumbnail } from "./thumbnail.js";

const list = find("#objects");
const picture = find("#picture");
const rows = new Map();

class Row {
	constructor(object) {
		const { id } = object;
		this.selectButton = makeButton(String(id), () => select(store.selected === id ? null : id));
		this.name = make("input", { maxlength: "100", placeholder: watches ? "" : "name", readonly: watches ? "" : null, "aria-label": `Name of object ${id}`, spellcheck: "false" });
		this.name.onchange = () => rename(id, this.name.value);
		this.name.onkeydown = (event) => {
			if (event.key === "Escape") { this.name.value = this.label; this.name.blur(); }
			if (event.key === "Enter") this.name.blur();
		};
		this.state = make("span", { class: "state" });
		this.keepButton = makeButton("✓", () => confirm(id), { "aria-label": `Keep object ${id}`, title: "Keep: it was found without a click" });
		const removeButton = makeButton("✕", () => remove(id), { "aria-label": `Remove object ${id}`, title: "Remove" });
		this.thumbnail = make("canvas", { width: "96", height: "64", class: "thumbnail", "aria-hidden": "true" });
		this.thumbnail.onclick = () => select(id);
		this.area = new Plot(object.colour, `Area of object ${id} in the last minute`);
		this.quality = new Plot(object.colour, `Confidence of object ${id} in the last minute`, 1);
		this.areaText = make("figcaption");
		this.qualityText = make("figcaption");
		const figures = make("div", { class: "figures" },
			make("figure", {}, this.area.element, this.areaText), make("figure", {}, this.quality.element, this.qualityText));
		const head = make("div", { class: "object-head" }, this.selectButton, this.name, this.keepButton, removeButton);
		this.element = make("li", { class: "object", "data-id": String(id) }, this.thumbnail, head, this.state, figures);
		this.element.style.borderLeftColor = object.colour;
	}

	add(object) {
		this.area.add(object.area);
		this.quality.add(qualityOf(object));
	}

	show(object, pixels) {
		const selected = store.selected === object.id;
		setPressed(this.selectButton, selected);
		this.keepButton.hidden = !isFound(object);
		this.element.toggleAttribute("data-found", isFound(object));
		this.selectButton.setAttribute("aria-label", `Select object ${object.id} ${object.label}`.trim());
		this.element.toggleAttribute("data-selected", selected);
		this.label = object.label;
		if (document.activeElement !== this.name && this.name.value !== object.label) this.name.value = object.label;
		this.state.dataset.state = object.state;
		setText(this.state, object.state);
		this.state.title = `tracked for ${age(object.age_s)}`;
		setText(this.areaText, `area ${(100 * object.area / pixels).toFixed(1)} %`);
		const name = object.confidence === null ? "quality" : "confidence";
		setText(this.qualityText, `${name} ${qualityOf(object).toFixed(2)}`);
		this.area.draw();
		this.quality.draw();
		if (object.area) drawThumbnail(this.thumbnail, picture, object.bbox); // else it keeps the last one
		this.thumbnail.toggleAttribute("data-old", object.area === 0);
	}
}

const qualityOf = ({ confidence, score }) => confidence ?? score;

function age(seconds) {
	if (seconds < 60) return `${Math.round(seconds)} s`;
	return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function show() {
	const objects = store.frame?.objects ?? [];
	const [width, height] = store.frame?.size ?? [1, 1];
	reconcile(list, rows, objects.map(({ id }) => id), (id) => new Row(objects.find((object) => object.id === id)));
	for (const object of objects) rows.get(object.id).show(object, width * height);
	setText(find("#objects-count"), objects.length ? String(objects.length) : "");
	find("#no-objects").hidden = objects.length > 0;
}

export function initObjects() {
	const showSoon = throttle(200, show);
	on("frame", () => {
		for (const object of store.frame?.objects ?? []) rows.get(object.id)?.add(object);
		showSoon();
	});
	on("selected", show);
	on("stream", () => { reconcile(list, rows, []); show(); });
}

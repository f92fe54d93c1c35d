// Regions of the shown stream: zones, lines, and areas in which objects are found or ignored.

import { api } from "./api.js";
import { showError } from "./notifications.js";
import { isFinding, on, store, update } from "./store.js";

const MAX_CORNERS = 64;
/** A corner that is this close to the first one ends a polygon. */
const CLOSE = 0.02;
/** Kind of region -> what it is for people. Those of `find` have no names. */
export const KINDS = { zone: "zone", line: "line", region: "find here", ignore: "ignore" };
export const hasName = (kind) => kind === "zone" || kind === "line";
const minCorners = (kind) => kind === "line" ? 2 : 3;

export async function loadSettings() {
	const { stream } = store;
	update({ settings: null, drawing: null, editing: null });
	if (stream === null) return;
	try {
		const settings = await api.settings(stream);
		if (store.stream === stream) update({ settings });
	} catch { /* an older daemon, or none: the panel says that there are no settings */ }
}

/** Change settings of the shown stream. `makeChanges(settings)`: from those in use now. */
export async function changeSettings(makeChanges) {
	const { stream } = store;
	try {
		const changes = makeChanges((await api.settings(stream)).settings);
		const settings = await api.changeSettings(stream, changes);
		if (store.stream === stream) update({ settings });
	} catch (error) {
		showError(error);
		update({ settings: store.settings, editing: null }); // fields and corners go back to what is in use
	}
}

/** The regions of the shown stream, in normalized coordinates: [{ kind, key, points, area }]. */
export function regions() {
	const { zones = {}, lines = {}, find = {} } = store.settings?.settings ?? {};
	const [width, height] = store.frame?.size ?? [1, 1];
	const normalized = (points, coords) => coords === "pixels" ? points.map(([x, y]) => [x / width, y / height]) : points;
	const list = [];
	for (const [key, { polygon, coords }] of Object.entries(zones)) list.push({ kind: "zone", key, points: normalized(polygon, coords) });
	for (const [key, { start, end, coords }] of Object.entries(lines)) list.push({ kind: "line", key, points: normalized([start, end], coords) });
	for (const kind of ["region", "ignore"]) {
		for (const [key, area] of (find[kind] ?? []).entries()) list.push({ kind, key, points: normalized(area.polygon, area.coords), area });
	}
	return list;
}

/** The settings that give a region new corners or a name, or remove it. */
function withRegion(settings, { kind, key, area }, { points, name = key, removed = false }) {
	const rounded = points?.map((point) => point.map((value) => Math.round(value * 1e4) / 1e4));
	const shape = rounded && { ...(kind === "line" ? { start: rounded[0], end: rounded[1] } : { polygon: rounded }), coords: "normalized" };
	if (hasName(kind)) {
		const group = `${kind}s`;
		const entries = Object.entries(key in settings[group] ? settings[group] : { ...settings[group], [key]: {} });
		return { [group]: Object.fromEntries(entries.flatMap(([each, region]) =>
			each !== key ? [[each, region]] : removed ? [] : [[name, { ...region, ...shape }]])) };
	}
	const areas = [...settings.find[kind]];
	const text = JSON.stringify(area);
	const at = area ? areas.findIndex((each) => JSON.stringify(each) === text) : areas.length; // another browser may have moved it
	if (at < 0) throw Object.assign(new Error("This area was changed in another window: try again."), { code: "CHANGED" });
	areas.splice(at, 1, ...(removed ? [] : [shape]));
	return { find: { ...settings.find, enabled: isFinding(), [kind]: areas } };
}

export const changeRegion = (region, change) => changeSettings((settings) => withRegion(settings, region, change));

export const startDrawing = (kind) => update({ drawing: { kind, corners: [] }, editing: null });

export function cancelDrawing() {
	const active = store.drawing ?? store.editing;
	if (active) update({ drawing: null, editing: null });
	return active !== null;
}

/** Add a corner to what is being drawn. A line ends with its second, a polygon at its first corner. */
export function addCorner(point) {
	const { kind, corners } = store.drawing;
	const closes = kind !== "line" && corners.length >= 3 && Math.hypot(point[0] - corners[0][0], point[1] - corners[0][1]) < CLOSE;
	if (!closes) update({ drawing: { kind, corners: [...corners, point] } });
	if (closes || kind === "line" && corners.length === 1 || corners.length + 1 >= MAX_CORNERS) finishDrawing();
}

export function addRectangle([x0, y0], [x1, y1]) {
	const { kind } = store.drawing;
	const corners = kind === "line" ? [[x0, y0], [x1, y1]] : [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
	update({ drawing: { kind, corners } });
	finishDrawing();
}

export function finishDrawing() {
	const { drawing, settings } = store;
	if (!drawing || !settings || drawing.corners.length < minCorners(drawing.kind)) return;
	const { kind, corners: points } = drawing;
	update({ drawing: null });
	changeSettings((current) => {
		let number = 1;
		while (`${kind}-${number}` in (current[`${kind}s`] ?? {})) number++;
		return withRegion(current, { kind, key: `${kind}-${number}` }, { points });
	});
}

export const chooseCorner = (region, index) => update({ editing: { ...region, index } });

export function stepCorner(step) {
	const { points, index } = store.editing;
	chooseCorner(store.editing, (index + step + points.length) % points.length);
}

export function moveCorner(point) {
	const { editing } = store;
	update({ editing: { ...editing, points: editing.points.with(editing.index, point) } });
}

export function insertCorner() {
	const { editing } = store;
	const { points, index, kind } = editing;
	if (kind === "line" || points.length >= MAX_CORNERS) return;
	const next = points[(index + 1) % points.length];
	const middle = points[index].map((value, axis) => (value + next[axis]) / 2);
	chooseCorner({ ...editing, points: points.toSpliced(index + 1, 0, middle) }, index + 1);
	saveCorners();
}

/** Remove the chosen corner, if the region can do without it. */
export function removeCorner() {
	const { points, index, kind } = store.editing;
	if (points.length <= minCorners(kind)) {
		showError({ code: "TOO_FEW", message: `A ${kind === "line" ? "line has two ends" : "polygon has at least three corners"}: remove it in the list.` });
		return;
	}
	chooseCorner({ ...store.editing, points: points.toSpliced(index, 1) }, Math.min(index, points.length - 2));
	saveCorners();
}

let saving = false;

/** Save the corners, by one request at a time. */
export async function saveCorners() {
	if (saving) return;
	saving = true;
	for (let saved = null; store.editing && store.editing.points !== saved;) {
		saved = store.editing.points;
		await changeRegion(store.editing, { points: saved });
	}
	saving = false;
}

export function regionHint(touch) {
	const { drawing, editing } = store;
	const click = touch ? "Tap" : "Click";
	if (drawing?.kind === "line") return `${click} the two ends of the line. The arrow will point forward. Esc: cancel.`;
	if (drawing) return `${click} the corners of the polygon; the first one again, or Done, ends it. Esc: cancel.`;
	if (!editing) return "";
	return touch ? "Drag the corners." : "Drag the corners, or move the chosen one with the arrow keys. Page Down: the next, Insert: a new one, Delete: remove it, Esc: done.";
}

on("stream", loadSettings);
on("settings", () => {
	const { editing } = store;
	const current = editing && regions().find(({ kind, key }) => kind === editing.kind && key === editing.key);
	if (editing) update({ editing: current ? { ...editing, area: current.area } : null });
});

// What happened to the objects of the streams that were shown, for ten minutes.

export const SPAN_MS = 10 * 60 * 1000;
const MAX_STREAMS = 8;
const MAX_OBJECTS = 40;
const MAX_SPELLS = 400;
const MAX_MARKS = 120;
const MAX_PICTURES = 60;
const MAX_GAP_MS = 10000;

/** Stream -> { objects: Map id -> { id, label, color, box, spells }, marks }, oldest view first. */
const records = new Map();
const pictured = [];

/** The record of a stream. A spell is { state, from, to }; a mark is { at, kind, object, text, level, state, picture }. */
export function recordOf(stream) {
	let record = records.get(stream) ?? { objects: new Map(), marks: [] };
	records.delete(stream);
	records.set(stream, record);
	if (records.size > MAX_STREAMS) records.delete(records.keys().next().value);
	return record;
}

export function recordFrame({ stream, objects }, now = Date.now()) {
	const record = recordOf(stream);
	for (const { id, label, colour, state, bbox } of objects) {
		let entry = record.objects.get(id);
		if (!entry) record.objects.set(id, entry = { id, spells: spellsOf(record.marks, id, now) });
		Object.assign(entry, { label, color: colour });
		if (bbox[2] && bbox[3]) entry.box = bbox;
		const last = entry.spells.at(-1);
		if (last && now - last.to < MAX_GAP_MS) last.to = now;
		if (last?.to !== now || last.state !== state) entry.spells.push({ state, from: now, to: now });
		if (entry.spells.length > MAX_SPELLS) entry.spells.shift();
	}
	dropOld(record, now);
}

/** In pixels; undefined if the object was never seen. */
export const lastBox = (stream, id) => recordOf(stream).objects.get(id)?.box;

/** The states of an object before this page showed its stream, as its events tell. */
function spellsOf(marks, id, now) {
	const changes = marks.filter((mark) => mark.object === id && (mark.state || mark.kind === "object_removed"));
	changes.sort((one, other) => one.at - other.at);
	return changes.flatMap(({ state, at }, index) => state ? [{ state, from: at, to: changes[index + 1]?.at ?? now }] : []);
}

/** Add an event, or the picture of one. `picture` is a canvas, or null. */
export function recordMark(stream, mark) {
	const { marks } = recordOf(stream);
	if (!marks.includes(mark)) marks.push(mark);
	if (marks.length > MAX_MARKS) marks.shift();
	if (!mark.picture) return;
	pictured.push(mark);
	if (pictured.length > MAX_PICTURES) pictured.shift().picture = null;
}

function dropOld(record, now) {
	for (const [id, entry] of record.objects) {
		while (entry.spells.length && entry.spells[0].to < now - SPAN_MS) entry.spells.shift();
		if (!entry.spells.length) record.objects.delete(id);
	}
	while (record.objects.size > MAX_OBJECTS) {
		const ended = [...record.objects.values()].sort((one, other) => one.spells.at(-1).to - other.spells.at(-1).to)[0];
		record.objects.delete(ended.id);
	}
	while (record.marks[0]?.at < now - SPAN_MS) record.marks.shift();
}

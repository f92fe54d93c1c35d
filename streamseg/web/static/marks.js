// Makes events marks of the timeline, with a picture of the object at that moment.

import { find } from "./dom.js";
import { on, store } from "./store.js";
import { makeThumbnail } from "./thumbnail.js";
import { lastBox, recordFrame, recordMark } from "./track_record.js";

const MAX_AGE_MS = 5000;
/** Marks of objects that are not on the screen yet. */
let pending = [];

export function noteMark({ stream: where, t_wall_ms: at, kind, object, text, level, state }) {
	const stream = where === "_daemon" ? store.stream : where;
	if (stream === null) return;
	const mark = { at, kind, object, text, level, state, picture: null };
	const fresh = object !== null && stream === store.stream && !store.grid && Date.now() - mark.at < MAX_AGE_MS;
	if (fresh) {
		mark.picture = pictureOf(stream, object);
		if (!mark.picture) pending.push(mark);
	}
	recordMark(stream, mark);
}

function pictureOf(stream, object) {
	const box = store.frame && lastBox(stream, object);
	return box ? makeThumbnail(find("#picture"), box) : null;
}

/** Record the states of each frame, and pictures of new objects. */
export function initMarks() {
	on("frame", () => {
		if (!store.frame) return;
		recordFrame(store.frame);
		pending = pending.filter((mark) => Date.now() - mark.at < MAX_AGE_MS);
		for (const mark of pending) {
			const picture = pictureOf(store.frame.stream, mark.object);
			if (picture) recordMark(store.frame.stream, Object.assign(mark, { picture }));
		}
		pending = pending.filter((mark) => !mark.picture);
	});
	on("stream", () => { pending = []; });
}

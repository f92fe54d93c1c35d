// The state of the page, and its observers.

const bus = new EventTarget();

/** Whether the token may only watch. */
export const watches = "watch" in document.body.dataset;

export const store = {
	/** `connecting`, `live`, `silent` or `lost`. */
	connection: "connecting",
	daemon: null,
	streams: [],
	/** Stream id -> newest status. */
	statuses: new Map(),
	/** Id of the stream shown large, or of one on the page of the grid. */
	stream: null,
	/** Streams side by side: a key of GRIDS in grid.js; null: one stream is shown large. */
	grid: null,
	/** Header of the picture on the screen; prompts carry its frame number. */
	frame: null,
	/** Id of the selected object; null: the next click starts a new one. */
	selected: null,
	/** First frame that must have the selected object: a new one is not on the screen yet. */
	selectedFrom: 0,
	negative: false,
	/** Which mask of an ambiguous click is taken, 0 is the best; null: the daemon chooses. */
	candidate: null,
	/** How masks are shown: see effects.js. */
	effect: "color",
	opacity: 0.4,
	labels: true,
	trails: false,
	preview: true,
	/** Settings of the shown stream: { settings, from_file }; null until they are known. */
	settings: null,
	settingsOpen: false,
	/** The region that clicks draw: { kind, corners }; null: clicks are prompts. */
	drawing: null,
	/** The region that is changed, and its chosen corner: { kind, key, index, points }. */
	editing: null,
	recording: false,
	/** Visible part of the picture: left top corner, normalized, and magnification. */
	zoom: { x: 0, y: 0, scale: 1 },
};

export const isPaused = () => store.statuses.get(store.stream)?.paused ?? false;

/** Whether objects of the shown stream are found without a click. */
export const isFinding = () => Boolean(store.statuses.get(store.stream)?.find);

/** An object of the picture on the screen. */
export const objectOf = (id) => store.frame?.objects.find((object) => object.id === id);

/** Whether an object was found without a click, and not confirmed yet. */
export const isFound = ({ origin }) => origin === "auto" || origin === "prompter";

export function on(fields, listener) {
	for (const field of fields.split(" ")) bus.addEventListener(field, listener);
}

/** Update fields of the store and notify the listeners. */
export function update(changes) {
	Object.assign(store, changes);
	for (const field of Object.keys(changes)) bus.dispatchEvent(new Event(field));
}

export const toggle = (field) => update({ [field]: !store[field] });

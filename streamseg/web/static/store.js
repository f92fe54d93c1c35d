// The state of the page, and its observers.

const bus = new EventTarget();

export const store = {
  /** `connecting`, `live`, `silent` or `lost`. */
  connection: "connecting",
  daemon: null,
  /** Stream ids in the daemon's order. */
  streams: [],
  /** Stream id -> newest status. */
  statuses: new Map(),
  /** Id of the stream shown large. */
  stream: null,
  /** All streams are shown side by side. */
  grid: false,
  /** Header of the picture on the screen; prompts carry its frame number. */
  frame: null,
  /** Id of the selected object; null: the next click starts a new one. */
  selected: null,
  /** First frame on which the selected object must exist: a new one is not on the screen yet. */
  selectedFrom: 0,
  /** Clicks are negative. */
  negative: false,
  /** Which of the masks of an ambiguous click the next click takes, 0 is the best; null: the daemon chooses. */
  candidate: null,
  /** How masks are shown: see effects.js. */
  effect: "color",
  opacity: 0.4,
  labels: true,
  /** Show where objects have been. */
  trails: false,
  /** Show the mask that a click would give. */
  preview: true,
  /** Settings of the shown stream: { settings, from_file }; null until they are known. */
  settings: null,
  settingsOpen: false,
  /** What the user draws on the picture: { kind: "zone" or "line", corners }; null: nothing, clicks are prompts. */
  drawing: null,
  /** A recording is in progress. */
  recording: false,
  /** Visible part of the picture: its left top corner, normalized, and the magnification. */
  zoom: { x: 0, y: 0, scale: 1 },
};

/** Whether tracking of the shown stream is paused. */
export const isPaused = () => store.statuses.get(store.stream)?.paused ?? false;

/** Whether objects of the shown stream are found without a click. */
export const isFinding = () => Boolean(store.statuses.get(store.stream)?.find);

/** Call `listener` when one of these fields of the store is updated. */
export function on(fields, listener) {
  for (const field of fields.split(" ")) bus.addEventListener(field, listener);
}

/** Update fields of the store and notify the listeners. */
export function update(changes) {
  Object.assign(store, changes);
  for (const field of Object.keys(changes)) bus.dispatchEvent(new Event(field));
}

// What the page knows, and who wants to hear when a part of it changes.

const bus = new EventTarget();

export const store = {
  /** `waiting`, `up`, `silent` or `down`. */
  connection: "waiting",
  daemon: null,
  /** Ids in the daemon's order. */
  order: [],
  /** Id -> newest status. */
  statuses: new Map(),
  /** The stream that is shown large. */
  watched: null,
  /** Header of the picture on the screen; prompts carry its frame number. */
  shown: null,
  /** Id of the selected object; null: the next click starts a new one. */
  selected: null,
  /** Clicks take away. */
  negative: false,
};

/** Whether the stream that is watched is not tracked for now. */
export const isPaused = () => store.statuses.get(store.watched)?.paused ?? false;

/** Call `listener` whenever one of the topics was announced. */
export function on(topics, listener) {
  for (const topic of topics.split(" ")) bus.addEventListener(topic, listener);
}

/** Change something and announce it, under the names of the fields that were given. */
export function update(changes) {
  Object.assign(store, changes);
  for (const topic of Object.keys(changes)) bus.dispatchEvent(new Event(topic));
}

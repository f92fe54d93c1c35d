// The page: what comes from the daemon goes into the store, and each panel follows the store.

import { select } from "./actions.js";
import { find, say } from "./dom.js";
import { addEvent } from "./events_panel.js";
import { followHealth } from "./health_panel.js";
import { listenToCross, listenToKeys } from "./keys.js";
import { Live } from "./live.js";
import { followObjects } from "./objects_panel.js";
import { api } from "./api.js";
import { listenToPointer } from "./pointer.js";
import { clearStage, redraw, showFrame } from "./stage.js";
import { on, store, update } from "./store.js";
import { followTiles, showOnTile } from "./tiles.js";
import { armReset, listenToToolbar } from "./toolbar.js";

const WORDS = { waiting: "connecting", up: "live", silent: "no word from the daemon", down: "connection lost" };

function watch(stream) {
  if (stream === store.watched) return;
  select(null);
  update({ watched: stream });
  clearStage();
  live.watch(stream);
}

/** What happened to this page's own connection: the daemon cannot tell it. */
function noteConnection(state) {
  const kind = { down: "connection_lost", up: "connection_back" }[state];
  const before = store.connection;
  if (!kind || before === state || before === "waiting") return;
  addEvent({ stream: "_daemon", kind, t_wall_ms: Date.now(), object: null, label: "", detail: "" });
}

function onConnection(state, reason) {
  noteConnection(state);
  update({ connection: state });
  // Whoever is not logged in learns it here: a refused WebSocket does not tell why.
  if (state === "down") api.streams().catch(() => {});
  showConnection(reason);
}

function showConnection(reason = "") {
  const { connection } = store;
  const element = find("#connection");
  element.dataset.state = connection === "silent" ? "down" : connection;
  say(element, WORDS[connection]);
  find("#frame").toggleAttribute("data-stale", connection === "down" || connection === "silent");
  showNotice(reason);
}

function showNotice(reason = "") {
  const status = store.statuses.get(store.watched);
  let text = "";
  if (store.connection === "down") {
    text = `${reason || "The connection to the daemon is lost."} Trying again; if this lasts, look whether it is running.`;
  } else if (store.connection === "silent") {
    text = "The daemon's publisher has said nothing for three seconds. It is restarted by itself; this page waits.";
  } else if (status && status.state !== "streaming") {
    text = `The source is ${status.state}${status.last_error ? `: ${status.last_error}` : "."}`;
  } else if (!store.shown) {
    text = "Waiting for the first picture.";
  }
  const notice = find("#notice");
  notice.hidden = text === "";
  say(notice, text);
}

const live = new Live({
  onConnection,
  onFrame: (frame) => frame.header.stream === store.watched ? showFrame(frame) : showOnTile(frame),
  onEvent: addEvent,
  onStatus(status) {
    store.statuses.set(status.id, status);
    update({ statuses: store.statuses });
  },
  onDaemon(daemon, order) {
    for (const id of store.statuses.keys()) if (!order.includes(id)) store.statuses.delete(id);
    update({ daemon, order });
    say(find("#what-runs"), `${daemon.model}${daemon.device ? ` on ${daemon.device}` : ""}`);
    if (!order.includes(store.watched) && order.length) watch(order[0]);
  },
});

on("statuses watched shown", () => showNotice());
on("selected", redraw);
on("watched", () => find("#marks").setAttribute("aria-label", `Live picture of ${store.watched}`));
on("shown", () => {
  const { selected, shown } = store;
  if (selected !== null && shown && !shown.objects.some((object) => object.id === selected)) select(null);
});
listenToToolbar();
listenToPointer(find("#marks"));
listenToCross(find("#marks"));
listenToKeys({ watch, armReset });
followObjects();
followHealth();
followTiles(watch);

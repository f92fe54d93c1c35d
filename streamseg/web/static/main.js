// Entry point: messages of the daemon update the store, which the panels observe.

import { noteEvent, select } from "./actions.js";
import { initAddCamera } from "./add_camera.js";
import { api } from "./api.js";
import { Connection } from "./connection.js";
import { find, setText } from "./dom.js";
import { addEvent } from "./events.js";
import { initFreshness, setReason } from "./freshness.js";
import { initHealth } from "./health.js";
import { initCrosshair, initKeyboard } from "./keyboard.js";
import { initObjects } from "./objects.js";
import { initMarks, noteMark } from "./marks.js";
import { gridStreams } from "./grid.js";
import { clearErrors } from "./notifications.js";
import { initPageUrl, requestedStream, requestStream } from "./page_url.js";
import { initPointer } from "./pointer.js";
import { objectOf, on, store, update } from "./store.js";
import { initSettings } from "./settings_panel.js";
import { initTiles, showOnTile } from "./tiles.js";
import { initTimeline } from "./timeline.js";
import { initToolbar } from "./toolbar.js";
import { initViewMenu } from "./view_menu.js";
import { clearViewer, showFrame } from "./viewer.js";
import { resetZoom } from "./zoom.js";

function showStream(stream) {
	if (stream === store.stream) return;
	select(null);
	update({ stream });
	clearViewer();
	resetZoom();
	watch();
}

function watch() {
	connection.watch(store.stream, store.grid ? gridStreams() : []);
}

function onGrid() {
	document.body.toggleAttribute("data-grid", store.grid !== null);
	select(null);
	clearViewer();
	if (store.stream !== null) watch();
}

function chooseStream(stream) {
	requestStream(stream);
	showStream(stream);
}

function showLarge(stream) {
	if (store.grid) update({ grid: null });
	chooseStream(stream);
	find("#viewport").scrollIntoView({ block: "nearest" }); // the tiles are below it
}

function logConnection(state) {
	const [text, level] = { lost: ["connection lost", "bad"], live: ["connection restored", "good"] }[state] ?? [];
	const before = store.connection;
	if (state === "live") clearErrors();
	if (!text || before === state || before === "connecting") return;
	const event = { stream: "_daemon", kind: text, t_wall_ms: Date.now(), object: null, text, level };
	if (addEvent(event)) noteMark(event);
}

function onState(state, reason) {
	logConnection(state);
	update({ connection: state });
	// A rejected WebSocket does not say why; this request may lead to the login page.
	if (state === "lost") api.streams().catch(() => {});
	setReason(reason);
}

const connection = new Connection({
	onState,
	onFrame: (frame) => frame.header.stream === store.stream && !store.grid ? showFrame(frame) : showOnTile(frame),
	onEvent(event) {
		if (!addEvent(event)) return;
		noteMark(event);
		noteEvent(event);
	},
	onStatus(status) {
		store.statuses.set(status.id, status);
		update({ statuses: store.statuses });
	},
	onDaemon(daemon, streams) {
		for (const id of store.statuses.keys()) if (!streams.includes(id)) store.statuses.delete(id);
		const changed = streams.join() !== store.streams.join();
		update({ daemon, streams });
		if (changed && store.grid && store.stream !== null) watch();
		setText(find("#model"), `${daemon.model}${daemon.device ? ` on ${daemon.device}` : ""}`);
		if (streams.includes(requestedStream())) showStream(requestedStream());
		else if (!streams.includes(store.stream) && streams.length) showStream(streams[0]);
	},
});

on("grid", onGrid);
on("stream", () => find("#overlay").setAttribute("aria-label", `Live picture of ${store.stream}`));
on("frame", () => {
	const { selected, selectedFrom, frame } = store;
	if (selected === null || !frame || frame.frame < selectedFrom) return;
	if (!objectOf(selected)) select(null);
});
initToolbar();
initPointer(find("#overlay"));
initCrosshair(find("#overlay"));
initKeyboard(chooseStream);
initObjects();
initHealth();
initFreshness();
initMarks();
initTimeline();
initTiles(showLarge);
initViewMenu(chooseStream);
initSettings((settingsOpen) => update({ settingsOpen }));
initAddCamera(requestStream);
initPageUrl(showStream);

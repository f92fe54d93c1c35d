// Receives the masks of a streamseg daemon. docs/protocol.md is the contract.

import { readFileSync } from "node:fs";
import * as zmq from "zeromq";
import { decodeRle as decodeRuns } from "./mask_codec.js";

const MAX_PIXELS = 2 ** 26;
const MAX_MASK_BYTES = 2 ** 23;
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const MAX_EVENTS = 1000;
const MAX_TOPICS = 5 * 1024;
const text = new TextDecoder();
const DISCOVERY = "v1/_daemon/status/";
const STREAM = /^[a-z0-9_-]{1,64}$/;
const TOPIC = /^v1\/([a-z0-9_-]{1,64})\/(masks|objects|image|events|status)\/$/;

/** Bytes from the daemon are not what the protocol says. */
export class ProtocolError extends Error {}

/** The daemon asks for a key, or refused the one it was given: not authorized, revoked or expired. */
export class RefusedError extends Error {}

/** Read a key file that `streamseg keys` wrote; serverKey is needed if the file does not have it. */
export function loadKeys(path, serverKey) {
  const fields = Object.fromEntries(
    [...readFileSync(path, "utf8").matchAll(/^\s+([a-z][a-z-]*)\s*=\s*"([^"]*)"\s*$/gm)].map((match) => [match[1], match[2]]),
  );
  const keys = { publicKey: fields["public-key"], secretKey: fields["secret-key"], serverKey: serverKey ?? fields["server-key"] };
  for (const [name, key] of Object.entries(keys)) if (key?.length !== 40) throw new Error(`${path}: ${name} is missing`);
  return keys;
}

function checkSize(width, height) {
  const whole = Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0;
  if (!whole || width * height > MAX_PIXELS) throw new ProtocolError(`a mask cannot be ${width}x${height} pixels`);
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function sizeOf(header) {
  if (!Array.isArray(header.size) || header.size.length !== 2) throw new ProtocolError("size is not [width, height]");
  checkSize(...header.size);
  return header.size;
}

/** Decode a `coco_rle` mask to one byte per pixel, row by row. */
export function decodeRle(data, width, height) {
  checkSize(width, height);
  if (data.length > MAX_MASK_BYTES) throw new ProtocolError(`a mask of ${data.length} bytes is too long`);
  if (!data.length || data[data.length - 1] - 48 & 32) throw new ProtocolError("coco_rle: not a COCO counts string");
  for (const char of data) if (char < 48 || char > 111) throw new ProtocolError("coco_rle: not a COCO counts string");
  try {
    return decodeRuns(data, width, height);
  } catch (error) {
    throw new ProtocolError(`coco_rle: ${error.message}`);
  }
}

/** Turn the parts of a multipart message into { stream, kind, header, parts }. */
export function parse(frames) {
  const match = TOPIC.exec(text.decode(frames[0]));
  if (!match || frames.length < 2) throw new ProtocolError("not a topic of protocol v1 with its header");
  let header;
  try {
    header = JSON.parse(text.decode(frames[1]));
  } catch (error) {
    throw new ProtocolError(`${match[2]} of ${match[1]}: ${error.message}`);
  }
  if (!isObject(header)) throw new ProtocolError(`${match[2]} of ${match[1]}: the header is not a JSON object`);
  if (["masks", "objects", "image"].includes(match[2])) sizeOf(header);
  if (["masks", "objects"].includes(match[2]) && !(Array.isArray(header.objects) && header.objects.every(isObject))) {
    throw new ProtocolError(`${match[2]} of ${match[1]}: objects is not a list of objects`);
  }
  return { stream: match[1], kind: match[2], header, parts: frames.slice(2), gap: 0, skipped: 0 };
}

/** Decode an object's mask inside its `roi`: { roi, pixels }; null if the object is not visible. */
export function cropOf(message, object) {
  if (object.part === null || object.part === undefined) return null;
  const [width, height] = sizeOf(message.header);
  const roi = Array.isArray(object.roi) && object.roi.length === 4 && object.roi.every(Number.isInteger) ? object.roi : [];
  const [x, y, w, h] = roi;
  const inside = x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= width && y + h <= height;
  if (!inside) throw new ProtocolError(`object ${object.id}: roi ${object.roi} is not inside the frame`);
  const data = message.parts[object.part - 2]; // the topic is part 0, the header part 1
  if (!data) throw new ProtocolError(`object ${object.id}: there is no part ${object.part}`);
  if (object.encoding !== "coco_rle") throw new ProtocolError(`mask encoding ${object.encoding} is unknown to this client`);
  return { roi: object.roi, pixels: decodeRle(data, w, h) };
}

/** Decode an object's mask of the whole frame: one byte per pixel, row by row. */
export function maskOf(message, object) {
  const [width, height] = sizeOf(message.header);
  const mask = new Uint8Array(width * height);
  const crop = cropOf(message, object);
  if (!crop) return mask;
  const [x, y, w, h] = crop.roi;
  for (let row = 0; row < h; row++) mask.set(crop.pixels.subarray(row * w, (row + 1) * w), (y + row) * width + x);
  return mask;
}

/** Each pixel's object id, row by row, 0 for background. Of overlapping masks the smallest wins, then the younger. */
export function labelMap(message) {
  const [width, height] = sizeOf(message.header);
  const labels = new Uint32Array(width * height);
  for (const object of [...message.header.objects].sort((a, b) => b.area - a.area)) {
    const crop = cropOf(message, object);
    if (!crop) continue;
    const [x, y, w, h] = crop.roi;
    for (let row = 0; row < h; row++) {
      for (let column = 0; column < w; column++) {
        if (crop.pixels[row * w + column]) labels[(y + row) * width + x + column] = object.id;
      }
    }
  }
  return labels;
}

/**
 * Receives the newest message of each stream and kind, and every event: `for await (const message of subscriber)`.
 * Reconnects by itself, and finds streams that are added later.
 */
export class Subscriber {
  #socket;
  #kinds;
  #all;
  #topics = new Set();
  #newest = new Map();
  #events = [];
  #last = new Map();
  #wake = null;
  #closed = false;
  #failure = null;

  /** Messages that were skipped because they violate the protocol. */
  malformed = 0;

  /** Why the last connection failed; empty if it did not. */
  problem = "";

  constructor(endpoint = "tcp://127.0.0.1:5555", { streams = [], kinds = ["masks"], keys = null } = {}) {
    this.#kinds = kinds;
    this.#all = streams.length === 0;
    this.#socket = new zmq.Subscriber({
      receiveHighWaterMark: 64, linger: 0, maxMessageSize: MAX_MESSAGE_BYTES, tcpKeepalive: 1,
      reconnectInterval: 100, reconnectMaxInterval: 2000,
      ...(keys && { curvePublicKey: keys.publicKey, curveSecretKey: keys.secretKey, curveServerKey: keys.serverKey }),
    });
    // libzmq does not try again after a refusal.
    this.#socket.events.on("handshake:error:auth", () => this.#refuse("refused the key: not authorized, revoked or expired"));
    this.#socket.events.on("handshake:error:protocol", () => this.#refuse(keys ? "asks for no key" : "asks for a key"));
    // A daemon that asks for a key often closes before its greeting is read.
    this.#socket.events.on("handshake:error:other", () => this.#closedBy(endpoint, keys ? "asks for no key, or has another server key" : "asks for a key"));
    for (const event of ["handshake", "close"]) { // "close": nobody accepted the connection
      this.#socket.events.on(event, () => { if (!this.#closed) this.problem = ""; });
    }
    this.#socket.subscribe(DISCOVERY);
    for (const stream of this.#all ? ["_daemon"] : streams) this.#subscribe(stream);
    this.#socket.connect(endpoint);
    this.#pump();
  }

  /** Disconnect; iteration ends. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    this.#wake?.();
  }

  #closedBy(endpoint, perhaps) {
    const what = `closes connections during the handshake: perhaps it ${perhaps}`;
    if (!this.problem) process.emitWarning(`${endpoint} ${what}`);
    this.problem = `the daemon ${what}`;
  }

  #refuse(why) {
    if (this.#closed) return;
    this.problem = `the daemon ${why}`;
    this.#failure = new RefusedError(this.problem);
    this.close();
  }

  async *[Symbol.asyncIterator]() {
    while (true) {
      const message = this.#take();
      if (message) yield message;
      else if (this.#failure) throw this.#failure;
      else if (this.#closed) return;
      else await new Promise((resolve) => { this.#wake = resolve; });
    }
  }

  #take() {
    if (this.#events.length) return this.#events.shift();
    const [topic] = this.#newest.keys();
    const message = this.#newest.get(topic);
    this.#newest.delete(topic);
    return message;
  }

  #subscribe(stream) {
    for (const kind of this.#kinds) {
      if (stream === "_daemon" && kind !== "events" && kind !== "status") continue;
      const topic = `v1/${stream}/${kind}/`;
      if (this.#topics.has(topic) || this.#topics.size >= MAX_TOPICS) continue;
      this.#topics.add(topic);
      if (topic !== DISCOVERY) this.#socket.subscribe(topic);
    }
  }

  async #pump() {
    try {
      for await (const frames of this.#socket) {
        try {
          this.#put(frames);
        } catch {
          this.malformed++; // one message must not end the subscription
        }
        this.#wake?.();
      }
    } catch (error) {
      if (!this.#closed) this.#failure = error;
    }
    this.#wake?.();
  }

  #put(frames) {
    const topic = text.decode(frames[0]);
    const wanted = this.#topics.has(topic);
    if (!wanted && topic !== DISCOVERY) return; // a longer topic that begins with one of ours
    const message = parse(frames);
    if (topic === DISCOVERY && this.#all) {
      for (const stream of Array.isArray(message.header.streams) ? message.header.streams : []) {
        if (typeof stream === "string" && STREAM.test(stream)) this.#subscribe(stream);
      }
    }
    if (!wanted || !this.#follow(topic, message)) return;
    if (message.kind === "events") {
      this.#events.push(message);
      if (this.#events.length > MAX_EVENTS) this.#events.shift();
      return;
    }
    const replaced = this.#newest.get(topic);
    if (replaced) {
      message.gap += replaced.gap;
      message.skipped += replaced.skipped;
    }
    this.#newest.set(topic, message);
  }

  /** Count what is missing before a message; false if it is not newer than the last one. */
  #follow(topic, message) {
    const { session, publisher, seq, frame } = message.header;
    if (!Number.isInteger(seq)) throw new ProtocolError(`${message.kind} of ${message.stream}: seq is missing`);
    const ofFrame = message.kind !== "events" && message.kind !== "status";
    if (ofFrame && !Number.isInteger(frame)) throw new ProtocolError(`${message.kind} of ${message.stream}: frame is missing`);
    const last = this.#last.get(topic);
    if (last && last.session === session) {
      if (last.publisher === publisher) {
        if (seq <= last.seq) return false;
        message.gap = seq - last.seq - 1;
      }
      if (ofFrame) message.skipped = Math.max(0, frame - last.frame - 1 - message.gap);
    }
    this.#last.set(topic, { session, publisher, seq, frame });
    return true;
  }
}

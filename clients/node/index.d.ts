export type Kind = "masks" | "objects" | "image" | "events" | "status";
/** x, y, width, height in pixels. */
export type Box = [number, number, number, number];

/** One object of a frame; docs/protocol.md describes every field. */
export interface StreamObject {
  id: number;
  label: string;
  /** tracked, uncertain, occluded, lost; newer daemons may have others. */
  state: string;
  score: number;
  presence: number;
  confidence?: number | null;
  bbox: Box;
  area: number;
  centroid: [number, number];
  part: number | null;
  encoding: string;
  roi: Box;
}

/** The fields of every message; those of frames have `size`, `frame` and `objects`, too. */
export interface Header {
  type: string;
  v: number;
  session: string;
  publisher: string;
  seq: number;
  stream?: string;
  t_wall_ns: string;
  [field: string]: unknown;
}

export interface FrameHeader extends Header {
  stream: string;
  epoch: number;
  frame: number;
  size: [number, number];
  dropped: number;
  objects: StreamObject[];
}

interface Received {
  stream: string;
  /** The message parts behind the header: masks, or the JPEG. */
  parts: Uint8Array[];
  /** Messages lost on the way since the last one. */
  gap: number;
  /** Frames since the last one that the daemon sent none for. */
  skipped: number;
}

export interface FrameMessage extends Received { kind: "masks" | "objects"; header: FrameHeader }
export interface ImageMessage extends Received { kind: "image"; header: Omit<FrameHeader, "objects"> }
export interface OtherMessage extends Received { kind: "events" | "status"; header: Header }
export type Message = FrameMessage | ImageMessage | OtherMessage;

/** Bytes from the daemon are not what the protocol says. */
export class ProtocolError extends Error {}

/** The daemon asks for a key, or refused the one it was given: not authorized, revoked or expired. */
export class RefusedError extends Error {}
export interface Keys { publicKey: string; secretKey: string; serverKey: string }
/** Read a key file that `streamseg keys` wrote; serverKey is needed if the file does not have it. */
export function loadKeys(path: string, serverKey?: string): Keys;

/** Decode a `coco_rle` mask to one byte per pixel, row by row. */
export function decodeRle(data: Uint8Array, width: number, height: number): Uint8Array;
/** Turn the parts of a multipart message into a message. */
export function parse(frames: Uint8Array[]): Message;
/** Decode an object's mask inside its `roi`; null if the object is not visible. */
export function cropOf(message: FrameMessage, object: StreamObject): { roi: Box; pixels: Uint8Array } | null;
/** Decode an object's mask of the whole frame: one byte per pixel, row by row. */
export function maskOf(message: FrameMessage, object: StreamObject): Uint8Array;
/** Each pixel's object id, row by row, 0 for background. Of overlapping masks the smallest wins, then the younger. */
export function labelMap(message: FrameMessage): Uint32Array;

/** Receives the newest message of each stream and kind, and every event. Reconnects by itself. */
export class Subscriber implements AsyncIterable<Message> {
  /** @param options streams: ids, default all, including those added later; kinds: default masks; keys: if the daemon asks for one. */
  constructor(endpoint?: string, options?: { streams?: string[]; kinds?: Kind[]; keys?: Keys });
  /** Messages that were skipped because they violate the protocol. */
  malformed: number;
  /** Why the last connection failed; empty if it did not. */
  problem: string;
  /** Disconnect; iteration ends. */
  close(): void;
  [Symbol.asyncIterator](): AsyncIterator<Message>;
}

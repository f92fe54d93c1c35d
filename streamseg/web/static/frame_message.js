// Binary message of one frame: u32 length of the header (little-endian), JSON header, JPEG, masks.

import { decodeRle } from "./mask_codec.js";

const decoder = new TextDecoder();

/** Parse a message without copying. Returns { header, jpeg, masks: [{ roi, data }] }. */
export function parseFrameMessage(buffer) {
	const headerBytes = new DataView(buffer).getUint32(0, true);
	const header = JSON.parse(decoder.decode(new Uint8Array(buffer, 4, headerBytes)));
	let offset = 4 + headerBytes;
	const take = (bytes) => {
		const view = new Uint8Array(buffer, offset, bytes);
		offset += bytes;
		return view;
	};
	const jpeg = take(header.jpeg_bytes);
	const masks = header.masks.map(({ roi, bytes }) => ({ roi, data: take(bytes) }));
	return { header, jpeg, masks };
}

export const pixelAspect = ({ sample_aspect: [across, down] }) => across / down;

export const decodePicture = ({ jpeg }) => createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));

/** Decode the masks of a frame: [{ id, color, roi, mask }], without objects that have no mask. */
export function decodeMasks({ header, masks }) {
	return header.objects.flatMap(({ id, colour }, index) => {
		const { roi, data } = masks[index];
		return data.length ? [{ id, color: colour, roi, mask: decodeRle(data, roi[2], roi[3]) }] : [];
	});
}

/** Id of the smallest object at a pixel; null without one. */
export function objectAt(objects, x, y) {
	let found = null;
	for (const { id, roi: [left, top, width, height], mask } of objects) {
		const column = x - left, row = y - top;
		if (column < 0 || row < 0 || column >= width || row >= height || !mask[row * width + column]) continue;
		if (!found || width * height < found.size) found = { id, size: width * height };
	}
	return found?.id ?? null;
}

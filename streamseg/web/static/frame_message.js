// Binary message of one frame: u32 length of the header (little-endian), JSON header, JPEG, masks.

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

/** Width of a pixel over its height, as displayed. */
export const pixelAspect = ({ sample_aspect: [across, down] }) => across / down;

// One binary message is one frame: u32 length of the header (little-endian), JSON header, JPEG, masks.

const decoder = new TextDecoder();

/** Take a message apart. Nothing is copied. */
export function parseFrame(buffer) {
  const headerBytes = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(decoder.decode(new Uint8Array(buffer, 4, headerBytes)));
  let at = 4 + headerBytes;
  const part = (bytes) => {
    const view = new Uint8Array(buffer, at, bytes);
    at += bytes;
    return view;
  };
  const jpeg = part(header.jpeg_bytes);
  const masks = header.masks.map(({ roi, bytes }) => ({ roi, data: part(bytes) }));
  return { header, jpeg, masks };
}

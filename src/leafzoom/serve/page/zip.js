// A ZIP archive of files as they are: pictures are compressed already.

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_HEADER = 0x06054b50;
const VERSION = 20;
const UTF8_NAMES = 0x0800;
const LOCAL_SIZE = 30;
const CENTRAL_SIZE = 46;
const END_SIZE = 22;
const FIRST_DAY = 0x21; // 1 January 1980, where no time is known

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// files: [{ name, blob }]. Returns a blob.
export async function zipOf(files) {
  const pieces = [];
  const directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const content = new Uint8Array(await blob.arrayBuffer());
    const entry = { name: new TextEncoder().encode(name), crc: crc32(content), size: content.length };
    const local = header(LOCAL_SIZE, LOCAL_HEADER, 4, entry);
    pieces.push(local, entry.name, content);

    const central = header(CENTRAL_SIZE, CENTRAL_HEADER, 6, entry);
    const view = new DataView(central.buffer);
    view.setUint16(4, VERSION, true);
    view.setUint32(42, offset, true);
    directory.push(central, entry.name);
    offset += local.length + entry.name.length + content.length;
  }

  const directorySize = directory.reduce((sum, piece) => sum + piece.length, 0);
  const end = new Uint8Array(END_SIZE);
  const view = new DataView(end.buffer);
  view.setUint32(0, END_HEADER, true);
  view.setUint16(8, files.length, true);
  view.setUint16(10, files.length, true);
  view.setUint32(12, directorySize, true);
  view.setUint32(16, offset, true);
  return new Blob([...pieces, ...directory, end], { type: "application/zip" });
}

// What both headers of a file have, from `start` on.
function header(size, signature, start, { name, crc, size: length }) {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, signature, true);
  view.setUint16(start, VERSION, true);
  view.setUint16(start + 2, UTF8_NAMES, true);
  view.setUint16(start + 8, FIRST_DAY, true);
  view.setUint32(start + 10, crc, true);
  view.setUint32(start + 14, length, true);
  view.setUint32(start + 18, length, true);
  view.setUint16(start + 22, name.length, true);
  return bytes;
}

// What a photo's first bytes say: its kind, its size, and its EXIF (turn, time, place). Nothing is
// decoded here, so that a hostile photo is refused before it takes memory.

const MAX_SCANS = 250; // of a JPEG: more than any camera makes
const MAX_BOX_BYTES = 2 ** 31;

const TAG_ORIENTATION = 0x0112;
const TAG_EXIF = 0x8769;
const TAG_GPS = 0x8825;
const TAG_TAKEN = 0x9003;
const TAG_OFFSET = 0x9011;
const TYPE_SIZES = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8 };
const MAX_ENTRIES = 200;
const FIRST_YEAR = 1990;

const HEIC_BRANDS = ["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"];

const textAt = (bytes, start, length) =>
  String.fromCharCode(...bytes.subarray(start, start + length));

// kind: jpeg, png, webp, heic or other. width, height: before any turn, 0 where unknown.
// exif: { orientation, place, taken, latitude, longitude }; `orientationAt` is where its value is.
export function photoHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) return jpegHeader(bytes, view);
    if (textAt(bytes, 1, 3) === "PNG") return pngHeader(bytes, view);
    if (textAt(bytes, 0, 4) === "RIFF" && textAt(bytes, 8, 4) === "WEBP")
      return webpHeader(bytes, view);
  } catch {
    // It ends in the middle of its header.
    return { kind: "damaged", width: 0, height: 0, exif: {} };
  }
  const brand = textAt(bytes, 4, 4) === "ftyp" ? textAt(bytes, 8, 4) : "";
  const kind = HEIC_BRANDS.includes(brand) ? "heic" : "other";
  return { kind, width: 0, height: 0, exif: {} };
}

function jpegHeader(bytes, view) {
  const header = { kind: "jpeg", width: 0, height: 0, exif: {}, scans: 0 };
  let offset = 2;
  while (offset + 4 <= bytes.length && header.scans <= MAX_SCANS) {
    if (bytes[offset] !== 0xff) {
      offset += 1;
      continue;
    }
    const marker = bytes[offset + 1];

    // Fill bytes, and the markers that stand between the data of a scan, have no length.
    if (marker === 0xff || marker === 0 || (marker >= 0xd0 && marker <= 0xd7)) {
      offset += marker === 0xff ? 1 : 2;
      continue;
    }
    if (marker === 0xd9) break;

    const length = view.getUint16(offset + 2);
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame && !header.width) {
      header.height = view.getUint16(offset + 5);
      header.width = view.getUint16(offset + 7);
    } else if (marker === 0xe1 && textAt(bytes, offset + 4, 4) === "Exif" && !header.scans) {
      if (header.exif.orientation === undefined) header.exif = readExif(bytes, offset + 10);
    } else if (marker === 0xda) {
      header.scans += 1;
    }
    offset += 2 + length;
  }
  header.tooManyScans = header.scans > MAX_SCANS;
  return header;
}

function pngHeader(bytes, view) {
  return { kind: "png", width: view.getUint32(16), height: view.getUint32(20), exif: {} };
}

function webpHeader(bytes, view) {
  const header = { kind: "webp", width: 0, height: 0, exif: {} };
  const chunk = textAt(bytes, 12, 4);
  if (chunk === "VP8X") {
    header.width = 1 + bytes[24] + (bytes[25] << 8) + (bytes[26] << 16);
    header.height = 1 + bytes[27] + (bytes[28] << 8) + (bytes[29] << 16);
  } else if (chunk === "VP8L") {
    const bits = view.getUint32(21, true);
    header.width = 1 + (bits & 0x3fff);
    header.height = 1 + ((bits >>> 14) & 0x3fff);
  } else if (chunk === "VP8 ") {
    header.width = view.getUint16(26, true) & 0x3fff;
    header.height = view.getUint16(28, true) & 0x3fff;
  }
  return header;
}

// The EXIF block whose TIFF header starts at `start`. A damaged one says nothing.
function readExif(bytes, start) {
  try {
    return parsedExif(new DataView(bytes.buffer, bytes.byteOffset + start, bytes.length - start), start);
  } catch {
    return {};
  }
}

function parsedExif(view, start) {
  const little = view.getUint16(0) === 0x4949;
  const main = entriesOf(view, view.getUint32(4, little), little);
  const exif = {};
  const turn = main.get(TAG_ORIENTATION);
  if (turn && turn.type === 3) {
    const value = view.getUint16(turn.at, little);
    exif.orientation = value >= 1 && value <= 8 ? value : 1;
    exif.orientationAt = { offset: start + turn.at, little };
  }

  const details = main.get(TAG_EXIF);
  if (details) Object.assign(exif, timeOf(view, view.getUint32(details.at, little), little));
  const gps = main.get(TAG_GPS);
  if (gps) Object.assign(exif, placeOf(view, view.getUint32(gps.at, little), little));
  return exif;
}

// The entries of a directory: {tag: {type, count, at}}, with the place of the value.
function entriesOf(view, offset, little) {
  const entries = new Map();
  const count = Math.min(view.getUint16(offset, little), MAX_ENTRIES);
  for (let index = 0; index < count; index++) {
    const entry = offset + 2 + 12 * index;
    const type = view.getUint16(entry + 2, little);
    const values = view.getUint32(entry + 4, little);
    const size = (TYPE_SIZES[type] ?? MAX_BOX_BYTES) * values;
    const at = size <= 4 ? entry + 8 : view.getUint32(entry + 8, little);
    if (at + size <= view.byteLength)
      entries.set(view.getUint16(entry, little), { type, count: values, at });
  }
  return entries;
}

const asciiOf = (view, { at, count }) =>
  String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, Math.min(count, 40)));

// The local time, ISO 8601, with its offset where that is known.
function timeOf(view, offset, little) {
  const entries = entriesOf(view, offset, little);
  const taken = entries.get(TAG_TAKEN);
  const match = taken && /^(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)/.exec(asciiOf(view, taken));
  if (!match) return {};

  const [, year, month, day, time] = match;
  const zone = entries.get(TAG_OFFSET);
  const offsetText = zone ? (/^[+-]\d\d:\d\d/.exec(asciiOf(view, zone))?.[0] ?? "") : "";
  const text = `${year}-${month}-${day}T${time}${offsetText}`;
  if (Number(year) < FIRST_YEAR || Number.isNaN(Date.parse(text))) return {};
  return { taken: text };
}

// Degrees, positive to the north and the east; nothing without both.
function placeOf(view, offset, little) {
  const entries = entriesOf(view, offset, little);
  const latitude = degreesOf(view, entries, 1, "S", 90, little);
  const longitude = degreesOf(view, entries, 3, "W", 180, little);
  if (latitude === null || longitude === null || (latitude === 0 && longitude === 0)) return {};
  return { latitude, longitude };
}

function degreesOf(view, entries, letterTag, negative, greatest, little) {
  const letter = entries.get(letterTag);
  const value = entries.get(letterTag + 1);
  if (!letter || !value || value.count !== 3 || value.type !== 5) return null;

  let degrees = 0;
  for (let index = 0; index < 3; index++) {
    const at = value.at + 8 * index;
    degrees += view.getUint32(at, little) / view.getUint32(at + 4, little) / 60 ** index;
  }
  if (!(degrees <= greatest)) return null;
  const signed = asciiOf(view, letter)[0] === negative ? -degrees : degrees;
  return Number(signed.toFixed(6));
}

// Write orientation 1 into a photo's EXIF, so that every browser gives the sensor's frame.
export function clearOrientation(bytes, { offset, little }) {
  new DataView(bytes.buffer, bytes.byteOffset).setUint16(offset, 1, little);
}

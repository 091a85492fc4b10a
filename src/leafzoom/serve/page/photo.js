// From a photo's file to the source, the square that the network reads, as photo.py makes it:
// decoded by the browser, turned upright, reduced and resized as Pillow does it.

import { clearOrientation, photoHeader } from "./photo-header.js";
import { jpegReduction, Reducer, Resampler, sourceSide, turnUpright } from "./resize.js";

const MAX_BYTES = 100 * 2 ** 20;
const JPEG_PIXELS = 120_000_000;
const OTHER_PIXELS = 66_000_000;
const BAND_PIXELS = 2_000_000;

// Why a photo cannot be read: `code` is the end of a message's key.
export class PhotoError extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

// { pixels, side, photoSize, exif } of a photo. sizes: { least, greatest } of the model.
export async function readSource(blob, sizes) {
  if (blob.size > MAX_BYTES) throw new PhotoError("too_large");
  const bytes = new Uint8Array(
    await blob.arrayBuffer().catch(() => {
      throw new PhotoError("gone");
    }),
  );
  const header = photoHeader(bytes);
  checkHeader(header);

  // A JPEG is turned here, after its reduction; other kinds are rarely turned: the browser's part.
  const orientation = header.exif.orientation ?? 1;
  const isTurnedHere = orientation !== 1;
  if (isTurnedHere) clearOrientation(bytes, header.exif.orientationAt);
  const bitmap = await decoded(bytes, blob.type, header.kind);
  try {
    if (bitmap.width * bitmap.height > JPEG_PIXELS) throw new PhotoError("too_large");
    return {
      ...squashed(bitmap, header.kind, orientation, sizes),
      exif: header.exif,
    };
  } finally {
    bitmap.close();
  }
}

function checkHeader({ kind, width, height, tooManyScans }) {
  if (kind === "damaged" || tooManyScans) throw new PhotoError("damaged");
  const limit = kind === "jpeg" ? JPEG_PIXELS : OTHER_PIXELS;
  if (width * height > limit) throw new PhotoError("too_large");
  if (["jpeg", "png", "webp"].includes(kind) && !(width && height)) throw new PhotoError("damaged");
}

function decoded(bytes, type, kind) {
  return createImageBitmap(new Blob([bytes], { type }), { imageOrientation: "from-image" }).catch(
    () => {
      const known = ["jpeg", "png", "webp"].includes(kind);
      throw new PhotoError(known ? "damaged" : kind === "heic" ? "heic" : "unknown");
    },
  );
}

function squashed(bitmap, kind, orientation, sizes) {
  const { width, height } = bitmap;
  const side = sourceSide(sizes, width, height);
  const reduction = kind === "jpeg" ? jpegReduction(width, height, side) : 1;
  const photoSize = orientation >= 5 ? [height, width] : [width, height];
  const outWidth = Math.ceil(width / reduction);
  const outHeight = Math.ceil(height / reduction);

  if (orientation === 1) {
    const resampler = new Resampler(outWidth, outHeight, side);
    reduceRows(bitmap, reduction, (row) => resampler.addRow(row));
    return { pixels: resampler.finish(), side, photoSize };
  }

  // Resizing rounds after each axis, so the picture is turned before it.
  const stride = outWidth * 3;
  const reduced = new Uint8Array(stride * outHeight);
  let offset = 0;
  reduceRows(bitmap, reduction, (row) => {
    reduced.set(row, offset);
    offset += stride;
  });
  const upright = turnUpright(reduced, outWidth, outHeight, orientation);
  const resampler = new Resampler(upright.width, upright.height, side);
  const uprightStride = upright.width * 3;
  for (let start = 0; start < upright.pixels.length; start += uprightStride)
    resampler.addRow(upright.pixels.subarray(start, start + uprightStride));
  return { pixels: resampler.finish(), side, photoSize };
}

// The rows of a picture, reduced, in bands: no canvas holds the whole of a large photo.
function reduceRows(bitmap, reduction, onRow) {
  const { width, height } = bitmap;
  const reducer = new Reducer(width, height, reduction, onRow);
  const bandHeight = Math.max(1, Math.min(Math.floor(BAND_PIXELS / width), height));
  const canvas = new OffscreenCanvas(width, bandHeight);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  if (!pen) throw new PhotoError("too_large");

  pen.imageSmoothingEnabled = false;
  for (let top = 0; top < height; top += bandHeight) {
    // Transparency is laid on white.
    const rows = Math.min(bandHeight, height - top);
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, width, rows);
    pen.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    reducer.addBand(pen.getImageData(0, 0, width, rows).data);
  }
}

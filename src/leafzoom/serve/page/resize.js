// Pillow's antialiased resize (bilinear, 8 bits a channel), bit for bit, and the reduced size at
// which Pillow reads a JPEG. A canvas scales in another way, and the network sees the difference.

const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);
const CHANNELS = 3;
const RGBA = 4;
const MAX_DOUBLED_SIZE = 256; // JPEGs for small sources are read at twice their side
const REDUCTIONS = [8, 4, 2, 1];

// The side of the source of a photo; see source_size.py.
export function sourceSide({ least, greatest }, width, height) {
  const steps = Math.floor(Math.max(width, height) / 64);
  return Math.min(Math.max(steps * 64, least), greatest);
}

// By how much Pillow reduces a JPEG on reading it; see photo.py, `_decode_image`.
export function jpegReduction(width, height, side) {
  const least = Math.max(side, 2 * Math.min(side, MAX_DOUBLED_SIZE));
  const scale = Math.min(
    Math.floor(width / Math.min(least, width)),
    Math.floor(height / Math.min(least, height)),
  );
  return REDUCTIONS.find((reduction) => scale >= reduction);
}

// Of each output pixel: the first input pixel, and the weights of those from it on.
function coefficients(inputSize, outputSize) {
  const scale = inputSize / outputSize;
  const filterScale = Math.max(scale, 1);
  const size = Math.ceil(filterScale) * 2 + 1;
  const firsts = new Int32Array(outputSize);
  const counts = new Int32Array(outputSize);
  const weights = new Int32Array(outputSize * size);

  for (let out = 0; out < outputSize; out++) {
    const centre = (out + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - filterScale + 0.5), 0);
    const end = Math.min(Math.trunc(centre + filterScale + 0.5), inputSize);
    const exact = [];
    let total = 0;
    for (let index = first; index < end; index++) {
      const weight = Math.max(1 - Math.abs((index - centre + 0.5) * (1 / filterScale)), 0);
      exact.push(weight);
      total += weight;
    }

    firsts[out] = first;
    counts[out] = exact.length;
    exact.forEach((weight, index) => {
      const share = total === 0 ? weight : weight / total;
      weights[out * size + index] = Math.trunc(0.5 + share * (1 << PRECISION_BITS));
    });
  }
  return { firsts, counts, weights, size };
}

// Takes an image row by row, and gives it resized to a square. Rows are RGB, a byte a channel.
// Pillow resizes the width first, and the height first of an image that is reduced more in height.
export class Resampler {
  constructor(width, height, side) {
    Object.assign(this, { width, height, side });
    this.horizontal = width === side ? null : coefficients(width, side);
    this.vertical = height === side ? null : coefficients(height, side);
    this.isHeightFirst = height > width && height > side;
    this.count = 0; // of rows that were added

    // The width's results for all rows, or the height's sums of the few rows in progress.
    this.rows = new Uint8ClampedArray((this.isHeightFirst ? side : height) * side * CHANNELS);
    this.sums = new Map();
    this.finished = 0; // rows of the height's results
  }

  addRow(row) {
    const y = this.count;
    this.count += 1;
    if (this.isHeightFirst) this.addToSums(row, y);
    else this.squeezeRow(row, y);
  }

  // Resize a row's width, into a row of the result.
  squeezeRow(row, y) {
    const { horizontal, side } = this;
    const start = y * side * CHANNELS;
    if (!horizontal) {
      this.rows.set(row, start);
      return;
    }

    const { firsts, counts, weights, size } = horizontal;
    for (let out = 0; out < side; out++) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let pixel = firsts[out] * CHANNELS;
      let place = out * size;
      for (let left = counts[out]; left > 0; left--) {
        const weight = weights[place++];
        red += row[pixel] * weight;
        green += row[pixel + 1] * weight;
        blue += row[pixel + 2] * weight;
        pixel += CHANNELS;
      }
      const target = start + out * CHANNELS;
      this.rows[target] = red >> PRECISION_BITS;
      this.rows[target + 1] = green >> PRECISION_BITS;
      this.rows[target + 2] = blue >> PRECISION_BITS;
    }
  }

  // Add a row to the sums of all output rows that it is a part of; those that are complete go on.
  addToSums(row, y) {
    const { firsts, counts, weights, size } = this.vertical;
    const stride = this.width * CHANNELS;
    for (let out = this.finished; out < this.side && firsts[out] <= y; out++) {
      if (!this.sums.has(out)) this.sums.set(out, new Int32Array(stride).fill(HALF));
      const sums = this.sums.get(out);
      const weight = weights[out * size + y - firsts[out]];
      for (let column = 0; column < stride; column++) sums[column] += row[column] * weight;

      if (y < firsts[out] + counts[out] - 1) continue;
      const complete = new Uint8ClampedArray(sums.map((sum) => sum >> PRECISION_BITS));
      this.squeezeRow(complete, out);
      this.sums.delete(out);
      this.finished = out + 1;
    }
  }

  // The square, uint8 [side, side, 3].
  finish() {
    const { rows, side, vertical } = this;
    if (this.isHeightFirst || !vertical) return new Uint8Array(rows.buffer);

    const { firsts, counts, weights, size } = vertical;
    const stride = side * CHANNELS;
    const result = new Uint8ClampedArray(side * stride);
    for (let out = 0; out < side; out++) {
      for (let column = 0; column < stride; column++) {
        let total = HALF;
        let from = firsts[out] * stride + column;
        let place = out * size;
        for (let left = counts[out]; left > 0; left--) {
          total += rows[from] * weights[place++];
          from += stride;
        }
        result[out * stride + column] = total >> PRECISION_BITS;
      }
    }
    return new Uint8Array(result.buffer);
  }
}

// Takes rows of RGBA in bands, and gives each mean over squares of `reduction` pixels as a row of
// RGB: what a JPEG's decoder gives at a reduced size. Squares at the right and lower edge may be
// smaller. onRow: gets each row; it is the same array every time.
export class Reducer {
  constructor(width, height, reduction, onRow) {
    Object.assign(this, { width, height, reduction, onRow });
    this.outWidth = Math.ceil(width / reduction);
    this.outHeight = Math.ceil(height / reduction);
    this.sums = new Uint32Array(this.outWidth * CHANNELS);
    this.row = new Uint8Array(this.outWidth * CHANNELS);
    this.rowsRead = 0;
    this.rowsInSum = 0;
  }

  // pixels: RGBA of whole rows.
  addBand(pixels) {
    const stride = this.width * RGBA;
    for (let start = 0; start < pixels.length; start += stride) {
      this.addPixels(pixels, start);
      this.rowsRead += 1;
      this.rowsInSum += 1;
      if (this.rowsInSum === this.reduction || this.rowsRead === this.height) this.finishRow();
    }
  }

  addPixels(pixels, start) {
    const { sums, width, reduction } = this;
    let pixel = start;
    for (let x = 0, target = 0; x < width; target += CHANNELS) {
      let red = 0;
      let green = 0;
      let blue = 0;
      for (const end = Math.min(x + reduction, width); x < end; x++) {
        red += pixels[pixel];
        green += pixels[pixel + 1];
        blue += pixels[pixel + 2];
        pixel += RGBA;
      }
      sums[target] += red;
      sums[target + 1] += green;
      sums[target + 2] += blue;
    }
  }

  finishRow() {
    const { sums, row, width, reduction, outWidth, rowsInSum } = this;
    for (let x = 0; x < outWidth; x++) {
      const count = Math.min(reduction, width - x * reduction) * rowsInSum;
      for (let channel = 0; channel < CHANNELS; channel++) {
        const index = x * CHANNELS + channel;
        row[index] = Math.floor((sums[index] + count / 2) / count);
      }
    }
    this.onRow(row);
    sums.fill(0);
    this.rowsInSum = 0;
  }
}

// The image of an EXIF orientation, upright. pixels: RGB [height, width, 3].
export function turnUpright(pixels, width, height, orientation) {
  const swaps = orientation >= 5;
  const outWidth = swaps ? height : width;
  const outHeight = swaps ? width : height;
  const flipsX = [2, 3, 7, 8].includes(orientation);
  const flipsY = [3, 4, 6, 7].includes(orientation);
  const result = new Uint8Array(pixels.length);

  let target = 0;
  for (let y = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++) {
      // Where in the sensor's frame the upright pixel comes from.
      const alongX = swaps ? y : x;
      const alongY = swaps ? x : y;
      const fromX = flipsX ? width - 1 - alongX : alongX;
      const fromY = flipsY ? height - 1 - alongY : alongY;
      const from = (fromY * width + fromX) * CHANNELS;
      result[target++] = pixels[from];
      result[target++] = pixels[from + 1];
      result[target++] = pixels[from + 2];
    }
  }
  return { pixels: result, width: outWidth, height: outHeight };
}

// Whether a picture of a viewfinder is sharp enough, and neither too dark nor too bright.

export const SAMPLE_SIDE = 160; // pixels of the square that is judged

const DARK_MEAN = 55;
const BRIGHT_SHARE = 0.15; // of pixels that are white
const WHITE = 250;
const SHARP_ENERGY = 60; // of the Laplacian, in grey values squared, on a surface with texture

// The advice for RGBA pixels [side, side, 4]: "dark", "bright", "blurred" or "good".
export function adviceFor(pixels, side) {
  const grey = new Float32Array(side * side);
  let total = 0;
  let white = 0;
  for (let index = 0; index < grey.length; index++) {
    const at = 4 * index;
    const value = 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2];
    grey[index] = value;
    total += value;
    if (value >= WHITE) white += 1;
  }
  if (total / grey.length < DARK_MEAN) return "dark";
  if (white / grey.length > BRIGHT_SHARE) return "bright";
  return laplacianEnergy(grey, side) < SHARP_ENERGY ? "blurred" : "good";
}

// The mean square of the Laplacian: what a blur takes away first.
export function laplacianEnergy(grey, side) {
  let energy = 0;
  for (let y = 1; y < side - 1; y++) {
    for (let x = 1; x < side - 1; x++) {
      const at = y * side + x;
      const laplacian =
        grey[at - 1] + grey[at + 1] + grey[at - side] + grey[at + side] - 4 * grey[at];
      energy += laplacian * laplacian;
    }
  }
  return energy / (side - 2) ** 2;
}

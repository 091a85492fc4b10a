// What speaks for a label, drawn over the photo. A scale's map has rows of numbers, from the top and
// left of its box; positive ones speak for the label.

const TINT = [200, 30, 160]; // magenta: neither leaves nor rust have it
const GREATEST_TINT = 0.45;
const SHADE = 0.45; // how much darker the photo is where nothing speaks for the label

// The picture of one scale's map, a pixel a number. greatest: the number with the strongest tint.
function mapPicture(rows, greatest) {
  const canvas = document.createElement("canvas");
  canvas.width = rows[0].length;
  canvas.height = rows.length;

  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(canvas.width, canvas.height);
  rows.flat().forEach((value, index) => {
    const strength = Math.min(Math.max(value / greatest, 0), 1);
    pixels.data.set([...TINT, 255 * GREATEST_TINT * strength], 4 * index);
  });
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

// The pictures of a label's maps, one for each scale.
export function labelPictures(evidence, label) {
  const maps = evidence.maps.map((byLabel) => byLabel[label]);
  const greatest = Math.max(...maps.flat(2), Number.MIN_VALUE);
  return maps.map((rows) => mapPicture(rows, greatest));
}

// Darken a canvas, and tint what speaks for a label. rectangle: of the map's box on the canvas.
export function drawEvidence(pen, picture, [left, top, width, height]) {
  pen.fillStyle = `rgb(0 0 0 / ${100 * SHADE}%)`;
  pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, left, top, width, height);
}

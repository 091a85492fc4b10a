// The photo with the zooms' boxes, drawn on canvases. Boxes are [x0, y0, x1, y1] in pixels of the
// upright photo, the whole photo first.

import { has, t } from "./messages.js";

const ZOOM_COLOURS = ["#0072b2", "#e69f00", "#cc79a7"];
const HALO_COLOUR = "rgb(255 255 255 / 75%)";

const MAX_CROP_WIDTH = 640;
const MAX_CROP_HEIGHT = 480;

// The downloaded picture: tiles side by side below a title, a caption below each.
const MAX_TILE_WIDTH = 900;
const MAX_TILE_HEIGHT = 480;
const MIN_COLUMN_WIDTH = 160;
const MARGIN = 12;
const TILE_TOP = 48;
const TITLE_BASELINE = 34;
const CAPTION_OFFSET = 72;
const TEXT_HEIGHT = 84;
const TILE_LINE_WIDTH = 4;
const FONT = "system-ui, sans-serif";

// The name of a look in a sentence; "" where there is none.
export const lookName = (look) => (has(`caption.${look}`) ? t(`caption.${look}`) : "");

// What was looked at: each scale by its number, then the closest look where there is one.
export function looksOf(prediction) {
  const looks = prediction.scales.map(({ scale, box }) => ({ name: scale, box }));
  const closest = prediction.evidence?.closest_box;
  if (closest) looks.push({ name: "closest", box: closest });
  return looks;
}

// Outline the zooms' boxes, each with a pale halo. toCanvas maps (x, y) of the photo to the canvas.
export function outlineZooms(pen, boxes, toCanvas, lineWidth) {
  pen.lineWidth = lineWidth;
  pen.lineJoin = "round";

  for (const [index, [x0, y0, x1, y1]] of boxes.slice(1).entries()) {
    const [left, top] = toCanvas(x0, y0);
    const [right, bottom] = toCanvas(x1, y1);
    const width = right - left;
    const height = bottom - top;
    const half = lineWidth / 2;

    pen.strokeStyle = HALO_COLOUR;
    pen.strokeRect(left - half, top - half, width + lineWidth, height + lineWidth);
    pen.strokeStyle = ZOOM_COLOURS[index % ZOOM_COLOURS.length];
    pen.strokeRect(left, top, width, height);
  }
}

// A part of the photo as a canvas of its own, with a name for screen readers.
export function cropCanvas(picture, [x0, y0, x1, y1], name) {
  const width = x1 - x0;
  const height = y1 - y0;
  const scale = Math.min(MAX_CROP_WIDTH / width, MAX_CROP_HEIGHT / height);

  const canvas = document.createElement("canvas");
  canvas.width = scaledSide(width, scale);
  canvas.height = scaledSide(height, scale);
  canvas.className = "cut";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);

  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, x0, y0, width, height, 0, 0, canvas.width, canvas.height);
  return canvas;
}

// The photo with its boxes and the zooms beside it, as a PNG without the camera's data.
export async function annotatedPicture(picture, prediction, title) {
  const looks = looksOf(prediction);
  const boxes = looks.map((look) => look.box);
  const scale = Math.min(MAX_TILE_HEIGHT / picture.height, MAX_TILE_WIDTH / picture.width);
  const tileWidth = scaledSide(picture.width, scale);
  const tileHeight = scaledSide(picture.height, scale);
  const columnWidth = Math.max(tileWidth, MIN_COLUMN_WIDTH) + MARGIN;

  const canvas = document.createElement("canvas");
  canvas.width = boxes.length * columnWidth + MARGIN;
  canvas.height = tileHeight + TEXT_HEIGHT;
  const pen = titledPen(canvas, `${title} · ${prediction.photo}`);

  boxes.forEach(([x0, y0, x1, y1], index) => {
    const left = MARGIN + index * columnWidth;
    pen.drawImage(picture, x0, y0, x1 - x0, y1 - y0, left, TILE_TOP, tileWidth, tileHeight);
    pen.fillText(lookName(looks[index].name), left, tileHeight + CAPTION_OFFSET);

    if (index === 0) {
      const toTile = (x, y) => [
        left + (x * tileWidth) / picture.width,
        TILE_TOP + (y * tileHeight) / picture.height,
      ];
      outlineZooms(pen, boxes, toTile, TILE_LINE_WIDTH);
    }
  });

  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// A pen on a white canvas with a title, ready for captions.
function titledPen(canvas, title) {
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";

  pen.fillStyle = "#1d241b";
  pen.font = `600 24px ${FONT}`;
  pen.fillText(title, MARGIN, TITLE_BASELINE, canvas.width - 2 * MARGIN);
  pen.font = `16px ${FONT}`;
  return pen;
}

const scaledSide = (side, scale) => Math.max(1, Math.round(side * scale));

// A shape made ready for drawing and hitting: its path in pixels of the frame, its box, its mask.
import { decodeMask } from "./rle.js";

const scratch = document.createElement("canvas").getContext("2d");

// shape.bones: pairs of a skeleton's points that a line joins, by their places.
// { shape, path, dots, bones, box: [x1, y1, x2, y2] | null, area, mask, picture }
export function prepare(shape) {
  const ready = { shape, path: null, dots: [], bones: [], box: null, area: Infinity, mask: null };
  const points = shape.points;
  if (shape.type === "rectangle") {
    const [x1, y1, x2, y2] = points;
    ready.path = closed(turned([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], (x1 + x2) / 2, (y1 + y2) / 2, shape.rotation));
    ready.box = boxOf(turned([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], (x1 + x2) / 2, (y1 + y2) / 2, shape.rotation));
  } else if (shape.type === "polygon") {
    const corners = pairs(points, 2);
    ready.path = closed(corners);
    ready.box = boxOf(corners);
  } else if (shape.type === "ellipse") {
    const [x, y, rx, ry] = points;
    ready.path = new Path2D();
    ready.path.ellipse(x, y, rx, ry, (shape.rotation * Math.PI) / 180, 0, 2 * Math.PI);
    const reach = Math.max(rx, ry);
    ready.box = shape.rotation ? [x - reach, y - reach, x + reach, y + reach] : [x - rx, y - ry, x + rx, y + ry];
  } else if (shape.type === "points" || shape.type === "skeleton") {
    const dots = pairs(points, shape.type === "skeleton" ? 3 : 2);
    const isThere = (dot) => dot !== undefined && (dot.length === 2 || dot[2] > 0);
    ready.dots = dots.filter(isThere);
    ready.box = ready.dots.length ? boxOf(ready.dots) : null;
    ready.bones = (shape.bones ?? []).map((ends) => ends.map((at) => dots[at])).filter((ends) => ends.every(isThere));
  } else if (shape.type === "mask" && shape.rle) {
    ready.mask = decodeMask(shape.rle);
    if (ready.mask) ready.box = [ready.mask.x, ready.mask.y, ready.mask.x + ready.mask.width, ready.mask.y + ready.mask.height];
  }
  if (ready.box) ready.area = Math.max(1, (ready.box[2] - ready.box[0]) * (ready.box[3] - ready.box[1]));
  return ready;
}

function pairs(flat, step) {
  const found = [];
  for (let at = 0; at + step <= flat.length; at += step) found.push(flat.slice(at, at + step));
  return found;
}

function turned(corners, cx, cy, degrees) {
  if (!degrees) return corners;
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  return corners.map(([x, y]) => [cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos]);
}

function closed(corners) {
  const path = new Path2D();
  corners.forEach(([x, y], index) => (index ? path.lineTo(x, y) : path.moveTo(x, y)));
  path.closePath();
  return path;
}

function boxOf(corners) {
  const [xs, ys] = [corners.map((corner) => corner[0]), corners.map((corner) => corner[1])];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

// The mask as a picture in its colour: translucent, with an edge of one pixel. Made once for each colour.
export function maskPicture(ready, color) {
  if (ready.picture?.color === color) return ready.picture.canvas;
  const { width, height, bits } = ready.mask;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!bits[at]) continue;
      const inside = x > 0 && x < width - 1 && y > 0 && y < height - 1 && bits[at - 1] && bits[at + 1] && bits[at - width] && bits[at + width];
      image.data.set([red, green, blue, inside ? 105 : 245], at * 4);
    }
  }
  context.putImageData(image, 0, 0);
  ready.picture = { color, canvas };
  return canvas;
}

// Whether a point of the frame lies in or, within `reach` pixels, on the shape.
export function isHit(ready, x, y, reach) {
  if (!ready.box) return false;
  const [x1, y1, x2, y2] = ready.box;
  if (x < x1 - reach || y < y1 - reach || x > x2 + reach || y > y2 + reach) return false;
  if (ready.mask) {
    const [column, row] = [Math.floor(x) - ready.mask.x, Math.floor(y) - ready.mask.y];
    return column >= 0 && row >= 0 && column < ready.mask.width && row < ready.mask.height && ready.mask.bits[row * ready.mask.width + column] === 1;
  }
  if (ready.dots.length) return ready.dots.some(([dx, dy]) => Math.hypot(dx - x, dy - y) <= reach * 2) || ready.shape.type === "skeleton";
  scratch.lineWidth = reach * 2;
  return scratch.isPointInStroke(ready.path, x, y) || scratch.isPointInPath(ready.path, x, y);
}

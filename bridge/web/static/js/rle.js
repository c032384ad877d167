// COCO's compressed run lengths (pycocotools' rleFrString and rleDecode), cropped to what is set.

export function runsOf(text) {
  const counts = [];
  let at = 0;
  while (at < text.length) {
    let value = 0;
    let shift = 0;
    let byte;
    do {
      byte = text.charCodeAt(at++) - 48;
      value |= (byte & 0x1f) << (5 * shift++);
    } while (byte & 0x20 && at < text.length);
    if (byte & 0x10) value |= -1 << (5 * shift);
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

// { x, y, width, height, bits: Uint8Array of 0 and 1, row by row }, or null of an empty mask.
export function decodeMask({ size: [height, width], counts }) {
  const runs = [];
  let [left, top, right, bottom] = [width, height, -1, -1];
  let at = 0;
  runsOf(counts).forEach((length, index) => {
    if (index % 2 && length > 0) {
      const [start, end] = [at, Math.min(at + length, width * height)];
      const [first, last] = [Math.floor(start / height), Math.floor((end - 1) / height)];
      left = Math.min(left, first);
      right = Math.max(right, last);
      top = first === last ? Math.min(top, start % height) : 0;
      bottom = first === last ? Math.max(bottom, (end - 1) % height) : height - 1;
      runs.push([start, end]);
    }
    at += length;
  });
  if (right < 0) return null;
  const [columns, rows] = [right - left + 1, bottom - top + 1];
  const bits = new Uint8Array(columns * rows);
  for (const [start, end] of runs) {
    let x = Math.floor(start / height);
    let y = start % height;
    for (let each = start; each < end; each++) {
      bits[(y - top) * columns + (x - left)] = 1;
      if (++y === height) {
        y = 0;
        x++;
      }
    }
  }
  return { x: left, y: top, width: columns, height: rows, bits };
}

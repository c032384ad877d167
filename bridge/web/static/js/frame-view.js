// A frame on a canvas, with its shapes: zooming, panning, hovering and selecting. Redraws at most once a screen frame.
import { isHit, maskPicture, prepare } from "./shapes.js";

const MOST_ZOOM = 40;
const CHIP = 11; // pixels of the text of a label
const FILL = { rectangle: 0.08, polygon: 0.22, ellipse: 0.22 };

export class FrameView {
  // onHover and onSelect are told a shape or null; onMove is told the view when the user has moved it.
  constructor(canvas, { zoomable = true, onHover = () => {}, onSelect = () => {}, onMove = () => {} } = {}) {
    Object.assign(this, { canvas, zoomable, onHover, onSelect, onMove });
    this.context = canvas.getContext("2d");
    this.image = null;
    this.size = [1, 1];
    this.ready = [];
    this.hovered = this.selected = null;
    this.labels = true;
    this.view = null; // { scale, x, y } of the frame's corner in CSS pixels; null: fitted
    this.region = null; // rectangle that is drawn over the frame, for a region of interest
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.listen();
  }

  async setImage(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    this.image = image;
    this.setSize(image.naturalWidth, image.naturalHeight);
  }

  // Of a frame whose picture is decoded already.
  setPicture(image, width, height) {
    this.image = image;
    this.setSize(width, height);
  }

  setSize(width, height) {
    this.size = [width, height];
    this.canvas.style.aspectRatio = this.zoomable ? "" : `${width} / ${height}`;
    this.draw();
  }

  // Shapes as the REST API has them, each with its `color`, #rrggbb.
  setShapes(shapes) {
    const known = new Map(this.ready.map((each) => [each.shape.id ?? each.shape, each]));
    this.ready = shapes.map((shape) => {
      const before = shape.id === undefined ? undefined : known.get(shape.id);
      if (!before || before.shape.points !== shape.points || before.shape.rle !== shape.rle) return prepare(shape);
      before.shape = shape;
      return before;
    });
    // Large ones first, so that small ones are drawn over them and hit before them.
    this.ready.sort((a, b) => b.area - a.area);
    this.hovered = null;
    this.draw();
  }

  fitted() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const scale = Math.min(width / this.size[0], height / this.size[1]);
    return { scale, x: (width - this.size[0] * scale) / 2, y: (height - this.size[1] * scale) / 2 };
  }

  current() {
    return this.view ?? this.fitted();
  }

  fit() {
    this.view = null;
    this.draw();
    this.onMove(this.view);
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const { scale, x: left, y: top } = this.current();
    const next = Math.min(MOST_ZOOM, Math.max(this.fitted().scale * 0.5, scale * factor));
    this.view = { scale: next, x: x - ((x - left) * next) / scale, y: y - ((y - top) * next) / scale };
    this.draw();
    this.onMove(this.view);
  }

  setView(view) {
    this.view = view;
    this.draw();
  }

  // From a pointer's event to pixels of the frame.
  place(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const { scale, x, y } = this.current();
    return [(event.clientX - bounds.left - x) / scale, (event.clientY - bounds.top - y) / scale];
  }

  hit(event) {
    const [x, y] = this.place(event);
    const reach = 4 / this.current().scale;
    for (let at = this.ready.length - 1; at >= 0; at--) if (isHit(this.ready[at], x, y, reach)) return this.ready[at].shape;
    return null;
  }

  listen() {
    const { canvas } = this;
    let held = null;
    if (this.zoomable) {
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        const bounds = canvas.getBoundingClientRect();
        this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX - bounds.left, event.clientY - bounds.top);
      }, { passive: false });
    }
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.region?.begin(event, this)) return;
      held = { x: event.clientX, y: event.clientY, view: this.current(), moved: false };
      if (this.zoomable) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (held && this.zoomable) {
        const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
        held.moved ||= Math.hypot(dx, dy) > 3;
        if (held.moved) {
          this.view = { scale: held.view.scale, x: held.view.x + dx, y: held.view.y + dy };
          this.draw();
          this.onMove(this.view);
          return;
        }
      }
      this.hover(this.region ? null : this.hit(event));
    });
    canvas.addEventListener("pointerup", (event) => {
      if (held && !held.moved && !this.region) this.select(this.hit(event));
      held = null;
    });
    canvas.addEventListener("pointerleave", () => this.hover(null));
    if (this.zoomable) canvas.addEventListener("dblclick", () => this.fit());
  }

  hover(shape) {
    if (shape === this.hovered) return;
    this.hovered = shape;
    this.canvas.style.cursor = shape ? "pointer" : "";
    this.draw();
    this.onHover(shape);
  }

  select(shape) {
    this.selected = shape;
    this.draw();
    this.onSelect(shape);
  }

  draw() {
    this.due ||= requestAnimationFrame(() => {
      this.due = 0;
      this.paint();
    });
  }

  paint() {
    const { canvas, context } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const { scale, x, y } = this.current();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    context.imageSmoothingEnabled = scale < 3;
    if (this.image) context.drawImage(this.image, 0, 0, ...this.size);
    for (const ready of this.ready) this.paintShape(ready, scale);
    this.region?.paint(context, scale, this.size);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.paintTags();
    this.paintChips(scale, x, y);
  }

  isLit(ready) {
    const { id } = ready.shape;
    return [this.hovered, this.selected].some((each) => each && (each === ready.shape || (id !== undefined && each.id === id)));
  }

  paintShape(ready, scale) {
    const { context } = this;
    const { shape, path, mask, dots } = ready;
    const lit = this.isLit(ready);
    const color = shape.color;
    context.globalAlpha = 1;
    if (mask) {
      context.globalAlpha = lit ? 1 : 0.85;
      context.drawImage(maskPicture(ready, color), mask.x, mask.y);
    } else if (path) {
      context.fillStyle = color;
      context.globalAlpha = lit ? 0.38 : FILL[shape.type] ?? 0.1;
      context.fill(path);
      context.globalAlpha = 1;
      context.lineJoin = "round";
      context.strokeStyle = lit ? "#ffffff" : "rgba(0, 0, 0, 0.45)";
      context.lineWidth = (lit ? 5 : 3.4) / scale;
      context.stroke(path);
      context.strokeStyle = color;
      context.lineWidth = (lit ? 2.6 : 1.8) / scale;
      context.stroke(path);
    }
    if (dots.length) this.paintDots(ready, scale, lit);
    context.globalAlpha = 1;
  }

  paintDots({ shape, dots, bones, box }, scale, lit) {
    const { context } = this;
    if (shape.type === "skeleton" && box) {
      context.setLineDash([4 / scale, 4 / scale]);
      context.strokeStyle = shape.color;
      context.lineWidth = (lit ? 2 : 1) / scale;
      context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
      context.setLineDash([]);
    }
    context.beginPath();
    for (const [from, to] of bones) {
      context.moveTo(from[0], from[1]);
      context.lineTo(to[0], to[1]);
    }
    context.strokeStyle = shape.color;
    context.lineWidth = (lit ? 3.5 : 2.2) / scale;
    context.stroke();
    for (const [x, y] of dots) {
      context.beginPath();
      context.arc(x, y, (lit ? 5.5 : 4) / scale, 0, 2 * Math.PI);
      context.fillStyle = shape.color;
      context.fill();
      context.strokeStyle = "#ffffff";
      context.lineWidth = 1.2 / scale;
      context.stroke();
    }
  }

  paintTags() {
    let top = 10;
    for (const { shape } of this.ready.filter((each) => each.shape.type === "tag")) {
      this.paintChip(shape, 10, top);
      top += CHIP + 14;
    }
  }

  // Names of all shapes where there is room for them, else of those that are looked at.
  paintChips(scale, x, y) {
    const taken = [];
    for (const ready of [...this.ready].reverse()) {
      if (!ready.box || !(this.isLit(ready) || this.labels)) continue;
      const [left, top] = [Math.max(0, ready.box[0] * scale + x), ready.box[1] * scale + y];
      const width = this.chipWidth(ready.shape);
      const inside = Math.max(0, Math.min(left, this.canvas.clientWidth - width));
      const place = { left: inside, top: top < CHIP + 10 ? top + 2 : top - CHIP - 9, width, height: CHIP + 8 };
      if (!this.isLit(ready) && taken.some((other) => overlap(other, place))) continue;
      taken.push(place);
      this.paintChip(ready.shape, place.left, place.top);
    }
  }

  chipWidth(shape) {
    this.context.font = `600 ${CHIP}px Inter, system-ui, sans-serif`;
    return this.context.measureText(captionOf(shape)).width + 12;
  }

  paintChip(shape, left, top) {
    const { context } = this;
    const width = this.chipWidth(shape);
    context.fillStyle = shape.color;
    context.globalAlpha = 0.94;
    context.beginPath();
    context.roundRect(left, top, width, CHIP + 8, 4);
    context.fill();
    context.globalAlpha = 1;
    context.fillStyle = isLight(shape.color) ? "#14161a" : "#ffffff";
    context.textBaseline = "middle";
    context.fillText(captionOf(shape), left + 6, top + (CHIP + 8) / 2 + 0.5);
  }
}

const captionOf = (shape) => (shape.score === null || shape.score === undefined ? shape.label : `${shape.label} ${shape.score.toFixed(2)}`);
const overlap = (a, b) => a.left < b.left + b.width && b.left < a.left + a.width && a.top < b.top + b.height && b.top < a.top + a.height;

function isLight(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 140;
}

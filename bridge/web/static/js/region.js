// A region of interest: a rectangle in fractions of the frame, drawn on it or typed in percent.
import { $ } from "./dom.js";
import { failed } from "./messages.js";
import { FrameView } from "./frame-view.js";

const SIDES = ["x", "y", "width", "height"];
const LEAST = 0.005;

export class RegionDialog {
  // onUse is told { x, y, width, height } in fractions, or null for the whole frame.
  constructor(imageUrl, onUse) {
    Object.assign(this, { imageUrl, onUse, value: null, dialog: $("#region") });
    this.view = new FrameView($("#region-canvas"), { zoomable: false });
    this.view.region = this;
    for (const side of SIDES) $(`#region-${side}`).addEventListener("input", () => this.typed());
    $("#region-use").addEventListener("click", () => this.use(this.value));
    $("#region-none").addEventListener("click", () => this.use(null));
  }

  async open() {
    this.dialog.showModal();
    this.showNumbers();
    if (this.view.image) return;
    try {
      await this.view.setImage(this.imageUrl);
    } catch {
      failed({ message: "The frame cannot be shown.", hint: "Type the region in percent instead." });
    }
  }

  use(value) {
    this.value = value;
    this.view.draw();
    this.dialog.close();
    this.onUse(value);
  }

  // The view hands pointers over while a region is drawn.
  begin(event, view) {
    const clamp = (value) => Math.min(1, Math.max(0, value));
    const at = (each) => view.place(each).map((value, side) => clamp(value / view.size[side]));
    const [x1, y1] = at(event);
    const move = (next) => {
      const [x2, y2] = at(next);
      this.value = { x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1) };
      if (this.value.width < LEAST || this.value.height < LEAST) this.value = null;
      this.showNumbers();
      view.draw();
    };
    const { canvas } = view;
    canvas.setPointerCapture(event.pointerId);
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", () => canvas.removeEventListener("pointermove", move), { once: true });
    return true;
  }

  typed() {
    const [x, y, width, height] = SIDES.map((side) => Math.min(100, Math.max(0, Number($(`#region-${side}`).value))) / 100);
    const kept = { x, y, width: Math.min(width, 1 - x), height: Math.min(height, 1 - y) };
    this.value = kept.width >= LEAST && kept.height >= LEAST ? kept : null;
    this.view.draw();
  }

  showNumbers() {
    const value = this.value ?? { x: 0, y: 0, width: 1, height: 1 };
    for (const side of SIDES) $(`#region-${side}`).value = Math.round(value[side] * 1000) / 10;
  }

  paint(context, scale, [width, height]) {
    if (!this.value) return;
    const [x, y, w, h] = [this.value.x * width, this.value.y * height, this.value.width * width, this.value.height * height];
    context.fillStyle = "rgba(8, 10, 14, 0.6)";
    context.beginPath();
    context.rect(0, 0, width, height);
    context.rect(x, y, w, h);
    context.fill("evenodd");
    context.strokeStyle = "#ffffff";
    context.lineWidth = 2 / scale;
    context.strokeRect(x, y, w, h);
  }
}

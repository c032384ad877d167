// Pointing at one object of an image: clicks on it, clicks beside it, a box around it; by pointer or by keys.

const DRAGGED = 5; // CSS pixels, from which on a click is a box
const STEP = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const COLORS = { positive: "#1e9e55", negative: "#d93636" };

export class Pointing {
  // Stands where the view has a region. onChange is called whenever what is pointed at has changed.
  constructor(view, onChange) {
    Object.assign(this, { view, onChange, marks: [], drawn: null, cursor: null });
    const { canvas } = view;
    canvas.classList.add("pointing");
    canvas.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      this.mark("negative", this.inside(event));
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => {
      this.cursor = null;
      view.draw();
    });
  }

  get isEmpty() {
    return !this.marks.length;
  }

  // A point on the object or a box around it is there: points beside it alone mean nothing.
  get isMeant() {
    return this.marks.some((mark) => mark.kind !== "negative");
  }

  get query() {
    const query = new URLSearchParams();
    for (const kind of ["positive", "negative"]) {
      const points = this.marks.filter((mark) => mark.kind === kind).map((mark) => mark.at);
      if (points.length) query.set(kind, JSON.stringify(points));
    }
    const box = this.marks.find((mark) => mark.kind === "box");
    if (box) query.set("box", JSON.stringify(box.at));
    return query;
  }

  clear() {
    this.marks = [];
    this.changed();
  }

  undo() {
    this.marks.pop();
    this.changed();
  }

  mark(kind, at) {
    if (kind === "box") this.marks = this.marks.filter((mark) => mark.kind !== "box");
    this.marks.push({ kind, at: at.map((value) => Math.round(value * 10) / 10) });
    this.changed();
  }

  changed() {
    this.view.draw();
    this.onChange();
  }

  inside(event) {
    return this.view.place(event).map((value, side) => Math.min(this.view.size[side] - 1, Math.max(0, value)));
  }

  // The view hands pointers over.
  begin(event, view) {
    const { canvas } = view;
    const first = this.inside(event);
    const boxTo = (next) => {
      const last = this.inside(next);
      return [Math.min(first[0], last[0]), Math.min(first[1], last[1]), Math.max(first[0], last[0]), Math.max(first[1], last[1])];
    };
    const move = (next) => {
      if (Math.hypot(next.clientX - event.clientX, next.clientY - event.clientY) >= DRAGGED) this.drawn = boxTo(next);
      view.draw();
    };
    const end = (last) => {
      canvas.removeEventListener("pointermove", move);
      canvas.removeEventListener("pointerup", end);
      canvas.removeEventListener("pointercancel", end);
      const box = this.drawn;
      this.drawn = null;
      if (last.type === "pointercancel") view.draw();
      else if (box) this.mark("box", box);
      else this.mark(event.shiftKey ? "negative" : "positive", first);
    };
    canvas.setPointerCapture(event.pointerId);
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    return true;
  }

  key(event) {
    const { view } = this;
    const step = STEP[event.key];
    if (step) {
      const far = (event.shiftKey ? 0.1 : 0.02) * Math.max(...view.size);
      const from = this.cursor ?? view.size.map((side) => side / 2);
      this.cursor = from.map((value, side) => Math.min(view.size[side] - 1, Math.max(0, value + step[side] * far)));
      view.draw();
    } else if (event.key === "Enter" && this.cursor) {
      this.mark(event.shiftKey ? "negative" : "positive", this.cursor);
    } else if (event.key === "Backspace") {
      this.undo();
    } else {
      return;
    }
    event.preventDefault();
  }

  paint(context, scale) {
    const box = this.drawn ?? this.marks.find((mark) => mark.kind === "box")?.at;
    if (box) {
      context.lineWidth = 2 / scale;
      context.setLineDash([6 / scale, 4 / scale]);
      context.strokeStyle = "#ffffff";
      context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
      context.setLineDash([]);
    }
    for (const { kind, at } of this.marks) if (kind !== "box") this.paintPoint(context, scale, kind, at);
    if (this.cursor) this.paintCursor(context, scale);
  }

  // A plus on the object, a minus beside it: told apart without their colours, too.
  paintPoint(context, scale, kind, [x, y]) {
    const [round, arm] = [8 / scale, 4 / scale];
    context.beginPath();
    context.arc(x, y, round, 0, 2 * Math.PI);
    context.fillStyle = COLORS[kind];
    context.fill();
    context.strokeStyle = "#ffffff";
    context.lineWidth = 2 / scale;
    context.stroke();
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    if (kind === "positive") {
      context.moveTo(x, y - arm);
      context.lineTo(x, y + arm);
    }
    context.stroke();
  }

  paintCursor(context, scale) {
    const [x, y] = this.cursor;
    const arm = 14 / scale;
    for (const [color, width] of [["#000000", 4], ["#ffffff", 2]]) {
      context.beginPath();
      context.moveTo(x - arm, y);
      context.lineTo(x + arm, y);
      context.moveTo(x, y - arm);
      context.lineTo(x, y + arm);
      context.strokeStyle = color;
      context.lineWidth = width / scale;
      context.stroke();
    }
  }
}

// A model tried on an image: its shapes, with a threshold and labels that ask nobody again.
import { send } from "./api.js";
import { colorFor } from "./colors.js";
import { $, h, props, swatch } from "./dom.js";
import { many, score } from "./format.js";
import { FrameView } from "./frame-view.js";
import { failed } from "./messages.js";
import { lookWhatRuns } from "./runs-on.js";
import { showResult, tryImage } from "./try-image.js";

const { model } = props();
const LOWEST = 0.01;
let result = null;
let view = null;
let asking = null; // an image that is dropped meanwhile takes the place of the one before
const hidden = new Set();

async function predict(file) {
  const prompts = promptsOf($("#prompts")?.value ?? "");
  if (model.card.labels === null && !prompts) {
    failed({ message: "Say what to look for first.", hint: "For example: car, person" });
    $("#prompts").focus();
    return;
  }
  asking?.abort();
  const mine = (asking = new AbortController());
  result = null;
  showResult(true);
  $("#try-wait").hidden = false;
  $("#try-count").textContent = "";
  $("#try-labels").replaceChildren();
  view ??= new FrameView($("#try-canvas"), { zoomable: false });
  view.setShapes([]);
  const url = URL.createObjectURL(file);
  try {
    await view.setImage(url).catch(() => undefined); // a TIFF is not shown, and predicted all the same
    const query = new URLSearchParams({ threshold: LOWEST, max_detections: 1000 });
    if (prompts) query.set("prompts", JSON.stringify(prompts));
    const answer = await send(`/v1/models/${model.id}/predict?${query}`, file, { type: file.type, signal: mine.signal });
    if (mine.signal.aborted) return;
    result = answer;
    view.setSize(result.width, result.height);
    hidden.clear();
    show();
    lookWhatRuns(model);
  } catch (error) {
    if (mine.signal.aborted) return;
    failed(error);
    showResult(false);
  } finally {
    URL.revokeObjectURL(url);
    if (mine === asking) $("#try-wait").hidden = true;
  }
}

function promptsOf(text) {
  const names = text.split(",").map((name) => name.trim()).filter(Boolean);
  return names.length ? Object.fromEntries(names.map((name) => [name, []])) : null;
}

function show() {
  const threshold = Number($("#try-threshold").value);
  $("#try-threshold-value").textContent = score(threshold);
  if (!result) return;
  const above = result.shapes.filter((shape) => shape.score >= threshold);
  const counts = new Map();
  for (const shape of above) counts.set(shape.label, (counts.get(shape.label) ?? 0) + 1);
  view.setShapes(above.filter((shape) => !hidden.has(shape.label)).map((shape) => ({ ...shape, color: colorFor(shape.label) })));
  $("#try-count").textContent = `${many(above.length, "shape")} of ${result.shapes.length}`;
  $("#try-labels").replaceChildren(
    ...[...counts].sort((a, b) => b[1] - a[1]).map(([label, count]) =>
      h("button", { type: "button", class: "chip", "aria-pressed": String(!hidden.has(label)), onclick: () => { hidden.has(label) ? hidden.delete(label) : hidden.add(label); show(); } },
        swatch(hidden.has(label) ? "#888888" : colorFor(label)), label, h("span", { class: "faint number" }, String(count)))),
  );
}

$("#try-threshold").value = model.threshold;
$("#try-threshold").addEventListener("input", show);
tryImage(predict);

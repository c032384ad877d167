// One model: trying it on an image, its labels, its download, changing and removing it.
import { get, patch, post, remove, send } from "./api.js";
import { $, $$, busy, h, icon, props, swatch } from "./dom.js";
import { bytes, many, score } from "./format.js";
import { attempt, confirm, failed, toastOnNextPage } from "./messages.js";
import { colorFor } from "./colors.js";
import { FrameView } from "./frame-view.js";

const { model, download } = props();
const LOWEST = 0.01;
let result = null;
let view = null;
const hidden = new Set();

// --- try it ---

async function predict(file) {
  if (!file) return;
  if (!file.type.startsWith("image/")) {
    failed({ message: `${file.name} is not an image.`, hint: "Drop a JPEG, PNG, WebP, BMP or TIFF file." });
    return;
  }
  const prompts = promptsOf($("#prompts")?.value ?? "");
  if (model.card.labels === null && !prompts) {
    failed({ message: "Say what to look for first.", hint: "For example: car, person" });
    $("#prompts").focus();
    return;
  }
  $("#drop").hidden = true;
  $("#try-result").hidden = false;
  $("#try-tools").hidden = false;
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
    result = await send(`/v1/models/${model.id}/predict?${query}`, file, { type: file.type });
    view.setSize(result.width, result.height);
    hidden.clear();
    show();
  } catch (error) {
    failed(error);
    reset();
  } finally {
    URL.revokeObjectURL(url);
    $("#try-wait").hidden = true;
  }
}

function promptsOf(text) {
  const names = text.split(",").map((name) => name.trim()).filter(Boolean);
  return names.length ? Object.fromEntries(names.map((name) => [name, []])) : null;
}

function reset() {
  $("#try-result").hidden = true;
  $("#try-tools").hidden = true;
  $("#drop").hidden = false;
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
$("#choose").addEventListener("click", () => $("#file").click());
$("#try-other").addEventListener("click", () => $("#file").click());
$("#file").addEventListener("change", (event) => {
  predict(event.target.files[0]);
  event.target.value = "";
});
for (const target of [$("#drop"), $("#try-result")]) {
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("over");
    predict(event.dataTransfer.files[0]);
  });
}

// --- labels ---

$("#label-filter")?.addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const item of $$("#labels li")) item.hidden = !item.textContent.toLowerCase().includes(wanted);
});

// --- download ---

function showDownload(state) {
  const badges = { ready: ["good", "ready"], absent: ["", "not downloaded"], downloading: ["accent", "downloading"], failed: ["bad", "failed"] };
  const [kind, text] = badges[state.state];
  $("#download-state").replaceChildren(h("span", { class: `badge ${kind}` }, text));
  const box = $("#download-box");
  box.hidden = state.state === "ready";
  if (state.state === "downloading") {
    const bar = h("progress", { max: 1, class: "tall", "aria-label": "Download" });
    if (state.total_bytes) bar.value = state.done_bytes / state.total_bytes;
    box.replaceChildren(h("div", { class: "stack tight" }, bar, h("span", { class: "small faint number" }, state.total_bytes ? `${bytes(state.done_bytes)} of ${bytes(state.total_bytes)}` : "Beginning")));
  } else if (state.state !== "ready") {
    const again = h("button", { type: "button", class: "button" }, icon("download"), state.state === "failed" ? "Try again" : `Download${state.total_bytes ? ` ${bytes(state.total_bytes)}` : ""}`);
    again.addEventListener("click", () => busy(again, startDownload));
    box.replaceChildren(h("div", { class: "stack" }, state.error && h("div", { class: "note bad" }, icon("alert"), h("span", {}, state.error)), h("div", { class: "row" }, again)));
  }
}

async function startDownload() {
  if (await attempt(() => post(`/v1/models/${model.id}/download`))) await follow();
}

async function follow() {
  for (;;) {
    const state = await attempt(() => get(`/v1/models/${model.id}/download`));
    if (!state) return;
    showDownload(state);
    if (state.state !== "downloading") return;
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

showDownload(download);
if (download.state === "downloading") follow();

// --- change and remove ---

$("#rename-form").addEventListener("submit", (event) => {
  event.preventDefault();
  busy($("#rename-form .primary"), async () => {
    const changed = await attempt(() => patch(`/v1/models/${model.id}`, { name: $("#new-name").value.trim(), threshold: Number($("#new-threshold").value) }));
    if (changed) location.reload();
  });
});

$("#remove").addEventListener("click", async () => {
  if (!(await confirm(`Remove ${model.name}?`, "Its downloaded files stay in the cache. Models that jobs have used cannot be removed.", { yes: "Remove", danger: true }))) return;
  await attempt(async () => {
    await remove(`/v1/models/${model.id}`);
    toastOnNextPage(`${model.name} was removed.`);
    location.href = "/models";
  });
});

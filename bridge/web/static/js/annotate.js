// Automatic annotation of a task: model, label matching, options, preview, and the job.
import { get, post } from "./api.js";
import { $, $$, busy, debounce, h, icon, props } from "./dom.js";
import { duration, many, number, score } from "./format.js";
import { FrameView } from "./frame-view.js";
import { shortcut } from "./keys.js";
import { Matching } from "./matching.js";
import { attempt, confirm, failed, toast, toastOnNextPage } from "./messages.js";
import { Prompting } from "./prompting.js";
import { RegionDialog } from "./region.js";

const { task, models, model: first, bones } = props();
const colors = Object.fromEntries(task.labels.map((label) => [label.name, label.color]));
const PREVIEWED = 3;
let model = null;
let mappings = [];
let region = null;
let selected = task.frame_count;
let cleanable = null;
let turn = 0;

const matching = $("#match-body") && new Matching($("#match-body"), task.labels, showSummary);
let labels = matching; // or what an open vocabulary is asked for

// --- model ---

async function chooseModel(id) {
  model = models.find((each) => each.id === id);
  $("#model").value = String(id);
  const { card } = model;
  $("#model-about").textContent = `${card.name} · makes ${card.shape_types.join(", ")} · ${card.engine === "hosted" ? "asked at its host" : "runs here"}${card.licence ? ` · ${card.licence}` : ""}`;
  $("#threshold").value = model.threshold;
  showThreshold();
  $("#polygons-box").hidden = !card.shape_types.includes("mask");
  forgetPreview();
  const mine = ++turn;
  $("#matching-title").textContent = card.labels === null ? "What to look for" : "Label matching";
  $(".match-tools").hidden = card.labels === null;
  countCleaned();
  if (card.labels === null) {
    labels = new Prompting($("#match-body"), task.labels.filter((label) => label.type === "any" || card.shape_types.includes(label.type)), showSummary);
    labels.show();
    return;
  }
  labels = matching;
  $("#match-body").replaceChildren(h("div", { class: "body waiting" }, h("span", { class: "spinner" }), "Matching labels"));
  try {
    const [answer, saved] = await Promise.all([post("/v1/label-matches", { model_id: id, task_id: task.id }), get(`/v1/mappings?model_id=${id}&task_id=${task.id}&limit=1000`)]);
    if (mine !== turn) return;
    mappings = saved.mappings.reverse();
    showSaved();
    matching.setMatches(answer.matches);
  } catch (error) {
    failed(error);
  }
}

function showSaved() {
  $("#saved-box").hidden = !mappings.length;
  $("#saved").replaceChildren(
    h("option", { value: "" }, "Suggestions"),
    ...mappings.map((each) => h("option", { value: String(each.id) }, `Saved mapping ${each.version}, ${many(Object.keys(each.pairs).length, "pair")}, ${new Date(each.created_at).toLocaleDateString()}`)),
  );
}

// --- options ---

function showThreshold() {
  $("#threshold-value").textContent = score(Number($("#threshold").value));
}

function frames() {
  const which = $("[name=frames]:checked").value;
  if (which === "unannotated") return { only: "unannotated" };
  if (which === "all") return {};
  const whole = (id, least) => Math.max(least, Math.floor(Number($(id).value) || 0));
  const start = whole("#start", 0);
  return { start, stop: Math.max(start, whole("#stop", 0)) + 1, step: whole("#step", 1) };
}

const SOURCES = { manual: "by people", automatic: "by models", imported: "imported" };

function goes(counts) {
  const all = Object.entries(counts).filter((entry) => entry[1]);
  if (!all.length) return "Nothing goes: there is none.";
  return `${all.map(([source, count]) => `${number(count)} ${SOURCES[source]}`).join(", ")} go, frame by frame.`;
}

function showCleaned() {
  for (const choice of ["model", "automatic", "all"]) $(`[data-clean=${choice}]`).textContent = goes(cleanable[choice]);
}

async function countCleaned() {
  if (!model) return;
  try {
    cleanable = await get(`/v1/tasks/${task.id}/cleanable?${new URLSearchParams({ model_id: model.id, ...frames(), ...(region && { roi: JSON.stringify({ ...region, unit: "fraction" }) }) })}`);
  } catch (error) {
    $("#frames-selected").textContent = error.message;
    return;
  }
  selected = cleanable.frames;
  showCleaned();
  $("#frames-selected").textContent = `${many(selected, "frame")} selected.`;
  showSummary();
}

const regionDialog = $("#region") && new RegionDialog(`/v1/tasks/${task.id}/frames/0/image?width=1600`, (value) => {
  region = value;
  countCleaned();
  $("#clear-region").hidden = !value;
  $("#region-text").textContent = value ? `From ${percentOf(value.x)} and ${percentOf(value.y)}, ${percentOf(value.width)} wide and ${percentOf(value.height)} high.` : "The whole frame is looked at.";
  forgetPreview();
});
const percentOf = (share) => `${Math.round(share * 1000) / 10} %`;

// --- the job ---

function spec() {
  const tile = Number($("#tile").value);
  const [nms, keep, least] = [$("#nms").value, $("#keep-manual").value, Number($("#min-size").value)];
  return {
    target: task.id,
    model_id: model.id,
    ...labels.spec,
    threshold: Number($("#threshold").value),
    masks_as_polygons: !$("#polygons-box").hidden && $("#polygons").checked,
    clean: $("[name=clean]:checked").value,
    frames: frames(),
    ...(region && { roi: { ...region, unit: "fraction" } }),
    ...(tile && { tiling: { width: tile, height: tile } }),
    ...(nms && { nms: { iou: Number(nms) } }),
    ...(keep && { keep_manual_iou: Number(keep) }),
    ...(least > 0 && { min_size: least }),
    ...($("#track")?.checked && { track: {} }),
  };
}

function showSummary() {
  const { matched, total } = labels;
  $("#matched").textContent = total ? `${number(matched)} of ${many(total, "label")} ${labels === matching ? "matched" : "looked for"}` : "";
  $("#summary").textContent = total ? (matched ? `${many(selected, "frame")}, ${many(matched, "label")}` : "No label is matched yet") : "";
  for (const button of [$("#annotate"), ...$$("[data-preview]")]) if (button.getAttribute("aria-busy") !== "true") button.disabled = !matched || !selected;
}

// --- preview ---

function forgetPreview() {
  if ($("#preview-body figure")) $("#preview-body").classList.add("stale");
}

async function preview() {
  const body = $("#preview-body");
  body.classList.remove("stale");
  body.replaceChildren(h("div", { class: "waiting" }, h("span", { class: "spinner" }), "The model looks at three frames. The first time it is downloaded and loaded."), ...Array.from({ length: PREVIEWED }, () => h("div", { class: "skeleton preview-skeleton" })));
  try {
    const found = await post(`/v1/jobs/preview?frames=${PREVIEWED}`, spec());
    const shapes = found.frames.reduce((sum, frame) => sum + frame.shapes.length, 0);
    const facts = [`${many(shapes, "shape")} on ${many(found.frames.length, "frame")}`];
    if (found.seconds_estimated !== null) facts.push(`${found.seconds_estimated < 1 ? "" : "about "}${duration(found.seconds_estimated)} for all ${number(found.frames_total)}`);
    if (found.calls !== null) facts.push(`${many(found.calls, "call")} of the host`);
    const counts = Object.entries(found.counts);
    body.replaceChildren(h("p", { class: "small" }, `${facts.join(", ")}.`),
      h("div", { class: "chips" }, counts.map(([label, count]) => h("span", { class: "chip" }, label, h("span", { class: "faint number" }, String(count))))),
      ...found.frames.map(previewed));
  } catch (error) {
    body.replaceChildren(h("div", { class: "note bad" }, icon("alert"), h("span", {}, h("strong", {}, error.message), ` ${error.hint ?? ""}`)));
  }
}

function previewed(frame) {
  const canvas = h("canvas", { role: "img", "aria-label": `${frame.name} with ${many(frame.shapes.length, "shape")}` });
  const view = new FrameView(canvas, { zoomable: false });
  view.setSize(frame.width, frame.height);
  view.setImage(`/v1/tasks/${task.id}/frames/${frame.number}/image?width=900`).then(() => view.setSize(frame.width, frame.height), () => undefined);
  view.setShapes(frame.shapes.map((shape) => ({ ...shape, color: colors[shape.label], bones: bones[shape.label] })));
  return h("figure", {}, canvas, h("figcaption", {}, h("span", {}, frame.name), h("span", { class: "number" }, frame.error ?? many(frame.shapes.length, "shape"))));
}

// --- wiring ---

if ($("#model")) {
  $("#model").addEventListener("change", (event) => chooseModel(Number(event.target.value)));
  $("#threshold").addEventListener("input", () => {
    showThreshold();
    forgetPreview();
  });
  for (const button of $$("[data-filter]")) {
    button.addEventListener("click", () => {
      for (const each of $$("[data-filter]")) each.setAttribute("aria-pressed", String(each === button));
      matching.filter = button.dataset.filter;
      matching.show();
    });
  }
  $("#match-search").addEventListener("input", debounce((event) => {
    matching.search = event.target.value;
    matching.show({ keepFocus: false });
  }, 80));
  $("#accept-all").addEventListener("click", () => {
    const least = Number($("#accept-score").value);
    const count = matching.acceptFrom(least);
    toast(count ? `${many(count, "suggestion")} accepted.` : `No open suggestion scores ${score(least)} or more.`);
    forgetPreview();
  });
  $("#own-thresholds").addEventListener("change", (event) => {
    matching.ownThresholds = event.target.checked;
    matching.show();
  });
  $("#saved").addEventListener("change", (event) => matching.setBase(mappings.find((each) => String(each.id) === event.target.value) ?? null));
  for (const input of $$("[name=frames], #start, #stop, #step")) {
    input.addEventListener("input", () => {
      $("#range").hidden = $("[name=frames]:checked").value !== "range";
      countCleaned();
    });
  }
  $("#open-region").addEventListener("click", () => regionDialog.open());
  $("#clear-region").addEventListener("click", () => regionDialog.use(null));
  for (const button of $$("[data-preview]")) button.addEventListener("click", () => busy(button, preview).then(showSummary));
  $("#annotate").addEventListener("click", async () => {
    const wanted = spec();
    const people = wanted.clean === "all" ? cleanable?.all.manual ?? 0 : 0;
    if (people && !(await confirm("Replace what people made?", `${many(people, "shape")} that people made go as well, frame by frame. Undoing the job brings them back.`, { yes: "Replace everything", danger: true }))) return;
    busy($("#annotate"), () =>
      attempt(async () => {
        const job = await post("/v1/jobs", wanted);
        toastOnNextPage(`Job ${job.id} was started on ${many(job.frames_total, "frame")}.`, { kind: "good" });
        location.href = `/jobs/${job.id}`;
      }),
    );
  });
  shortcut(["p"], "Preview three frames", () => $("#preview-again").click());
  chooseModel(first);
}


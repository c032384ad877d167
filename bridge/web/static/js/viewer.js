// The viewer: one frame after another, its shapes, a job's before and after, and thresholds tried on stored results.
import { get } from "./api.js";
import { $, h, icon, props, swatch } from "./dom.js";
import { many, score } from "./format.js";
import { FrameView } from "./frame-view.js";
import { shortcut } from "./keys.js";
import { failed, toast } from "./messages.js";
import { Pictures } from "./pictures.js";
import { JobPanel, showTaskCharts } from "./viewer-job.js";

const LISTED = 300;
const given = props();
const { task } = given;
const colors = Object.fromEntries(task.labels.map((label) => [label.name, label.color]));
const last = task.frame_count - 1;
const hidden = new Set();
const pictures = new Pictures(task.id);
let number = given.number;
let frame = null; // { shapes, before? ... } as the server has it
let comparing = false;
let turn = 0;

const link = (view) => {
  for (const other of [after, before]) if (other.view !== view) other.setView(view);
};
const after = new FrameView($("#canvas"), { onHover: lightUp, onSelect: select, onMove: link });
const before = new FrameView($("#canvas-before"), { onHover: lightUp, onSelect: select, onMove: link });
const job = new JobPanel({ task, jobs: given.jobs, colors, chosen: given.job, onChange: () => load(number, { keepView: true }) });

// --- loading ---

async function load(wanted, { keepView = false } = {}) {
  const mine = ++turn;
  number = Math.min(last, Math.max(0, wanted));
  $("#frame-number").value = number;
  $("#previous").disabled = number === 0;
  $("#next").disabled = number === last;
  const slow = setTimeout(() => ($("#wait").hidden = false), 150);
  const compared = comparing && job.id;
  try {
    const found = await get(compared ? `/v1/jobs/${job.id}/frames/${number}` : `/v1/tasks/${task.id}/frames/${number}`);
    if (mine !== turn) return;
    const picture = await pictures.get(found).catch(() => null);
    if (mine !== turn) return;
    frame = { ...found, shapes: found.after ?? found.shapes };
    $("#stage-error").hidden = Boolean(picture);
    if (!picture) $("#stage-error").replaceChildren(h("div", { class: "note bad" }, icon("alert"), h("span", {}, `${found.name} cannot be shown. Its shapes are drawn all the same.`)));
    for (const view of [after, before]) {
      if (!keepView) view.view = null;
      view.setPicture(picture, found.width, found.height);
    }
    arrange();
    $("#frame-name").textContent = found.name;
    document.title = `${found.name} · ${task.name} · Hubbridge`;
    $("#file").href = `/v1/tasks/${task.id}/frames/${number}/image`;
    $("#file").download = found.name.split("/").at(-1);
    after.selected = before.selected = null;
    show();
    history.replaceState(null, "", `/tasks/${task.id}/frames/${number}${job.id && comparing ? `?job=${job.id}` : ""}`);
    pictures.ahead([number + 1, number - 1, number + 2], last);
  } catch (error) {
    if (mine === turn) failed(error);
  } finally {
    clearTimeout(slow);
    if (mine === turn) $("#wait").hidden = true;
  }
}

// --- what is shown ---

const least = () => Number($("#score-filter").value);
const isShown = (shape) => !hidden.has(shape.label) && (shape.score === null || shape.score >= least());
const colored = (shapes) => shapes.filter(isShown).map((shape) => ({ ...shape, color: colors[shape.label] ?? "#888888", bones: given.bones[shape.label] }));

function show() {
  after.setShapes(colored(frame.shapes));
  before.setShapes(colored(frame.before ?? []));
  showLayers();
  showList();
}

function showLayers() {
  const counts = new Map(task.labels.map((label) => [label.name, 0]));
  for (const shape of frame.shapes) counts.set(shape.label, (counts.get(shape.label) ?? 0) + 1);
  const present = [...counts].filter(([label, count]) => count || hidden.has(label)).sort((a, b) => b[1] - a[1]);
  $("#layers").replaceChildren(
    ...(present.length ? present.map(([label, count]) =>
      h("div", { class: "layer" }, swatch(colors[label]), h("span", { class: "grow", title: label }, label), h("span", { class: "faint number" }, String(count)),
        h("button", { type: "button", class: "button quiet icon-only", "aria-label": `${hidden.has(label) ? "Show" : "Hide"} ${label}`, "aria-pressed": String(hidden.has(label)), onclick: () => toggle(label) }, icon(hidden.has(label) ? "eye-off" : "eye")))) : [h("p", { class: "faint small" }, "This frame has no shapes.")]),
  );
  $("#all-labels").textContent = hidden.size ? "Show all" : "Hide all";
}

function toggle(label) {
  hidden.has(label) ? hidden.delete(label) : hidden.add(label);
  show();
}

function showList() {
  const shown = frame.shapes.filter(isShown).sort((a, b) => (b.score ?? 2) - (a.score ?? 2));
  $("#shape-count").textContent = shown.length === frame.shapes.length ? String(shown.length) : `${shown.length} of ${frame.shapes.length}`;
  $("#shape-list").replaceChildren(...shown.slice(0, LISTED).map((shape) => {
    const button = h("button", { type: "button", "data-shape": String(shape.id), "aria-pressed": "false" }, swatch(colors[shape.label]), h("span", { class: "grow" }, shape.label), h("span", { class: "faint" }, shape.type), h("span", { class: "number" }, shape.score === null ? shape.source : score(shape.score)));
    button.addEventListener("pointerenter", () => hoverFromList(shape));
    button.addEventListener("pointerleave", () => hoverFromList(null));
    button.addEventListener("click", () => select(after.selected?.id === shape.id ? null : shape));
    return button;
  }));
  showFacts(after.selected);
}

function hoverFromList(shape) {
  after.hovered = before.hovered = shape;
  after.draw();
  before.draw();
}

function lightUp(shape) {
  for (const view of [after, before]) {
    view.hovered = shape;
    view.draw();
  }
  for (const button of $("#shape-list").children) button.classList.toggle("lit", button.dataset.shape === String(shape?.id));
}

function select(shape) {
  for (const view of [after, before]) {
    view.selected = shape;
    view.draw();
  }
  for (const button of $("#shape-list").children) {
    const mine = button.dataset.shape === String(shape?.id);
    button.setAttribute("aria-pressed", String(mine));
    if (mine) button.scrollIntoView({ block: "nearest" });
  }
  showFacts(shape);
}

function showFacts(shape) {
  $("#shape-facts").hidden = !shape;
  if (!shape) return;
  const facts = [["Label", shape.label], ["Type", shape.type], ["Score", shape.score === null ? "none" : shape.score.toFixed(3)], ["Source", shape.source + (shape.job_id ? `, job ${shape.job_id}` : "")]];
  if (shape.type === "rectangle") facts.push(["Size", `${Math.round(shape.points[2] - shape.points[0])} × ${Math.round(shape.points[3] - shape.points[1])} px`]);
  if (shape.rotation) facts.push(["Rotation", `${shape.rotation.toFixed(1)}°`]);
  facts.push(...Object.entries(shape.attributes));
  $("#shape-facts").replaceChildren(...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

// --- before and after ---

// Beside each other, or one above the other where the frames are larger so.
function arrange() {
  const { clientWidth: width, clientHeight: height } = $("#stages");
  const [w, h] = after.size;
  const beside = Math.min(width / 2 / w, height / h);
  const above = Math.min(width / w, height / 2 / h);
  $("#stages").classList.toggle("rows", comparing && above > beside * 1.1);
}

function compare(on) {
  comparing = on && Boolean(job.id);
  $("#compare").setAttribute("aria-pressed", String(comparing));
  $("#stage-before").hidden = $("#after-name").hidden = !comparing;
  arrange();
  load(number, { keepView: true });
}

async function nextEmpty() {
  try {
    const { frames } = await get(`/v1/tasks/${task.id}/frames?only=unannotated&start=${number + 1}&limit=1`);
    if (frames.length) load(frames[0].number);
    else toast("No later frame is without shapes.");
  } catch (error) {
    failed(error);
  }
}

// --- wiring ---

$("#previous").addEventListener("click", () => load(number - 1));
$("#next").addEventListener("click", () => load(number + 1));
$("#next-empty").addEventListener("click", nextEmpty);
$("#frame-number").addEventListener("change", (event) => load(Number(event.target.value) || 0));
$("#score-filter").addEventListener("input", () => {
  $("#score-value").textContent = score(least());
  show();
});
$("#all-labels").addEventListener("click", () => {
  if (hidden.size) hidden.clear();
  else for (const label of task.labels) hidden.add(label.name);
  show();
});
$("#names").addEventListener("click", () => {
  const on = $("#names").getAttribute("aria-pressed") !== "true";
  $("#names").setAttribute("aria-pressed", String(on));
  for (const view of [after, before]) {
    view.labels = on;
    view.draw();
  }
});
$("#fit").addEventListener("click", () => after.fit());
$("#compare").addEventListener("click", () => compare(!comparing));
if (!job.id) $("#compare").hidden = true;

shortcut(["ArrowRight", "f"], "Next frame", () => load(number + 1));
shortcut(["ArrowLeft", "d"], "Previous frame", () => load(number - 1));
shortcut(["e"], "Next frame without shapes", nextEmpty);
shortcut(["Home"], "First frame", () => load(0));
shortcut(["End"], "Last frame", () => load(last));
shortcut(["n"], "Names on and off", () => $("#names").click());
shortcut(["h"], "All shapes on and off", () => $("#all-labels").click());
shortcut(["b"], "Before and after the job", () => job.id && compare(!comparing));
shortcut(["0"], "Fit the frame", () => after.fit());
shortcut(["+", "="], "Zoom in", () => after.zoom(1.3));
shortcut(["-"], "Zoom out", () => after.zoom(1 / 1.3));
shortcut(["Escape"], "Select nothing", () => select(null));

new ResizeObserver(arrange).observe($("#stages"));
showTaskCharts(task, colors);
if (given.job) compare(true);
else load(number);

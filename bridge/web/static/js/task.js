// One task: shapes over the thumbnails, charts, adding images, import, export, removal.
import { get, post, remove, send } from "./api.js";
import { coverage, histogram, labelBars } from "./charts.js";
import { $, busy, props, s } from "./dom.js";
import { many } from "./format.js";
import { shortcut } from "./keys.js";
import { attempt, confirm, failed, toast, toastOnNextPage } from "./messages.js";
import { Upload, summary } from "./upload.js";

const { task, colors, shapes } = props();
const OUTLINED = 60; // shapes drawn over one thumbnail

// --- shapes over the thumbnails: boxes and polygons are enough at that size ---

function outline(shape) {
  const [a, b, c, d] = shape.points;
  const look = { fill: "none", stroke: colors[shape.label] ?? "#888888", "vector-effect": "non-scaling-stroke", "stroke-width": 1.6 };
  if (shape.type === "rectangle") return s("rect", { x: a, y: b, width: c - a, height: d - b, ...(shape.rotation && { transform: `rotate(${shape.rotation} ${(a + c) / 2} ${(b + d) / 2})` }), ...look });
  if (shape.type === "ellipse") return s("ellipse", { cx: a, cy: b, rx: c, ry: d, transform: `rotate(${shape.rotation} ${a} ${b})`, ...look });
  if (shape.type === "polygon") return s("polygon", { points: shape.points.join(" "), ...look, fill: look.stroke, "fill-opacity": 0.25 });
  return null;
}

async function drawShapes() {
  if (!shapes) return;
  const { frames } = await get(`/v1/tasks/${task.id}/annotations?${shapes}`).catch(() => ({ frames: [] }));
  for (const frame of frames) {
    const lines = frame.shapes.slice(0, OUTLINED).map(outline).filter(Boolean);
    const link = $(`[data-number="${frame.number}"]`);
    if (link && lines.length) $(".frame-picture", link).append(s("svg", { viewBox: `0 0 ${frame.width} ${frame.height}`, "aria-hidden": "true" }, lines));
  }
}

// --- charts ---

async function showStatistics() {
  if (!$("#coverage")) return;
  try {
    const found = await get(`/v1/tasks/${task.id}/statistics`);
    $("#coverage").replaceChildren(coverage(found.annotated, found.frames));
    $("#per-label").replaceChildren(labelBars(Object.entries(found.labels), colors));
    const scored = found.scores.reduce((sum, count) => sum + count, 0);
    $("#scores-card").hidden = !scored;
    if (scored) $("#scores").replaceChildren(histogram(found.scores));
  } catch (error) {
    $("#coverage").replaceChildren(error.message);
    $("#per-label").replaceChildren();
  }
}

// --- adding images ---

const upload = new Upload();
const paths = () => ($("#paths")?.value ?? "").split("\n").map((path) => path.trim()).filter(Boolean);
const ready = () => ($("#add-send").disabled = !upload.files.length && !paths().length);
upload.root.addEventListener("chosen", ready);
$("#paths")?.addEventListener("input", ready);
$("#add-form").addEventListener("submit", (event) => {
  event.preventDefault();
  busy($("#add-send"), async () => {
    try {
      const sums = { added: 0, known: 0, rejected: [] };
      const answers = [];
      if (upload.files.length) answers.push(await upload.sendTo(task.id));
      if (paths().length) answers.push(await post(`/v1/tasks/${task.id}/frames?skip_known=true`, { server_paths: paths() }));
      for (const answer of answers) {
        sums.added += answer.added;
        sums.known += answer.known;
        sums.rejected.push(...answer.rejected);
      }
      const { title, options } = summary(sums);
      toastOnNextPage(title, options);
      location.assign(`/tasks/${task.id}`);
      location.reload();
    } catch (error) {
      failed(error);
    }
  });
});
if (location.hash === "#add") $("#add").showModal();

// --- import and export ---

$("#import-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const file = $("#import-file").files[0];
  if (!file) return;
  busy($("#import-send"), async () => {
    try {
      const query = new URLSearchParams({ format: $("#import-format").value, source: $("[name=source]:checked").value });
      const found = await send(`/v1/tasks/${task.id}/import?${query}`, file, { type: "application/octet-stream" });
      const left = [
        found.unknown_files.length && `${many(found.unknown_files.length, "image")} of the file ${found.unknown_files.length === 1 ? "is" : "are"} no frame here: ${found.unknown_files.slice(0, 3).join(", ")}.`,
        found.unknown_labels.length && `Labels that the task does not have: ${found.unknown_labels.slice(0, 5).join(", ")}.`,
        found.wrong_size.length && `${many(found.wrong_size.length, "image")} of another size left out.`,
        found.outside && `${many(found.outside, "shape")} outside of ${found.outside === 1 ? "its frame" : "their frames"} left out.`,
      ].filter(Boolean);
      toastOnNextPage(`${many(found.shapes, "shape")} imported on ${many(found.frames, "frame")}.`, { text: left.join(" "), kind: left.length ? "bad" : "good" });
      location.reload();
    } catch (error) {
      failed(error);
    }
  });
});
$("#export-form").addEventListener("submit", () => {
  $("#export").close();
  if ($("#export-images").checked) toast("The zip is being made.", { text: "Its download begins when it is ready." });
});

// --- the rest ---

$("#copy-labels").addEventListener("click", async () => {
  await navigator.clipboard.writeText(JSON.stringify(JSON.parse($("#labels-json").value), null, 2));
  toast("The labels were copied.", { text: "CVAT's label constructor takes them under Raw." });
});
$("#remove").addEventListener("click", async () => {
  if (!(await confirm(`Remove ${task.name}?`, "Its annotations, its jobs and its uploaded files go for good. Files that were read where they are stay.", { yes: "Remove", danger: true }))) return;
  await attempt(async () => {
    await remove(`/v1/tasks/${task.id}`);
    toastOnNextPage(`${task.name} was removed.`);
    location.href = "/tasks";
  });
});
$("#annotate").addEventListener("click", (event) => {
  if (event.currentTarget.getAttribute("aria-disabled")) event.preventDefault();
});

shortcut(["a"], "Automatic annotation", () => $("#annotate").click());
if ($("[data-opens=add]")) {
  shortcut(["u"], "Add images", () => $("#add").showModal());
  shortcut(["e"], "Export", () => $("#export").showModal());
}
shortcut(["ArrowRight"], "Later frames", () => $("[data-following]")?.click());
shortcut(["ArrowLeft"], "Earlier frames", () => $("[data-previous]")?.click());

showStatistics();
drawShapes();

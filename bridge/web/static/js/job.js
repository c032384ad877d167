// One job: live while it works, and what can be done with it.
import { get, post } from "./api.js";
import { histogram, labelBars } from "./charts.js";
import { $, busy, h, props } from "./dom.js";
import { bytes, duration, many, number } from "./format.js";
import { watch } from "./job-events.js";
import { attempt, confirm, toast } from "./messages.js";
import { runsOn } from "./runs-on.js";

const STATISTICS_EVERY_MS = 2000;
const ERRORS = 20;
const given = props();
const { task, colors } = given;
let { job } = given;
let stop = null;
let counted = 0; // when the statistics were asked for
let due = 0;

const isAtWork = () => ["queued", "running"].includes(job.state);

// --- what is shown ---

function showState() {
  const kinds = { queued: "", running: "accent", succeeded: "good", failed: "bad", cancelled: "warn" };
  const [kind, text] = job.undone_at ? ["", "undone"] : job.abort_requested && job.state === "running" ? ["warn", "cancelling"] : [kinds[job.state], job.state];
  $("#state").replaceChildren(h("span", { class: `badge ${kind}` }, text));
  const finished = job.frames_done + job.frames_failed;
  const bar = $("#bar");
  bar.value = finished;
  bar.classList.toggle("good", job.state === "succeeded");
  bar.classList.toggle("bad", job.state === "failed");
  $("#frames").textContent = `${number(job.frames_done)} of ${number(job.frames_total)}`;
  $("#shapes").textContent = number(job.shapes_created);
  $("#failed").textContent = number(job.frames_failed);
  $("#runs").textContent = runsOn(job.resolved);
  $("#error").hidden = !job.error;
  $("#error span").textContent = job.error ?? "";
  const left = job.frames_total - finished;
  $("#cancel").hidden = !isAtWork() || job.abort_requested;
  $("#resume").hidden = isAtWork() || !left || Boolean(job.undone_at);
  $("#retry").hidden = isAtWork() || !job.frames_failed || Boolean(job.undone_at);
  $("#retry span").textContent = `Retry ${many(job.frames_failed, "failed frame")}`;
  $("#undo").hidden = isAtWork() || Boolean(job.undone_at);
  $("#view").hidden = !job.frames_done;
  if (!isAtWork()) showSpeedOfAll();
}

function showSpeedOfAll() {
  const seconds = job.started_at && job.finished_at ? (new Date(job.finished_at) - new Date(job.started_at)) / 1000 : null;
  $("#speed-name").textContent = "Frames per second, with loading";
  $("#left-name").textContent = "Time taken";
  $("#speed").textContent = seconds ? ((job.frames_done + job.frames_failed) / seconds).toFixed(1) : "–";
  $("#left").textContent = seconds === null ? "–" : duration(seconds);
}

function showLive({ frames_per_second: speed, seconds_left: left }) {
  $("#speed-name").textContent = "Frames per second";
  $("#left-name").textContent = "Time left";
  $("#speed").textContent = speed ? speed.toFixed(1) : "–";
  $("#left").textContent = left === null ? "–" : duration(left);
}

async function showStatistics() {
  counted = Date.now();
  try {
    const [found, raw] = await Promise.all([get(`/v1/jobs/${job.id}/statistics`), isAtWork() ? null : get(`/v1/jobs/${job.id}/scores`)]);
    $("#per-label").replaceChildren(labelBars(Object.entries(found.labels), colors));
    $("#annotated").textContent = found.frames ? `${number(found.annotated)} of ${many(found.frames, "frame")} with shapes` : "";
    const bins = raw ? rawBins(raw) : found.scores;
    $("#scores").replaceChildren(bins.some(Boolean) ? histogram(bins, { threshold: job.resolved.threshold, name: "Detections by score" }) : h("p", { class: "small faint" }, "No score yet."));
  } catch (error) {
    $("#per-label").replaceChildren(h("p", { class: "small faint" }, error.message));
  }
}

function rawBins(raw) {
  const sums = new Array(20).fill(0);
  for (const [label, bins] of Object.entries(raw.labels)) if (job.resolved.pairs[label]) bins.forEach((count, at) => (sums[at] += count));
  return sums;
}

function countSoon() {
  if (due) return;
  due = setTimeout(() => {
    due = 0;
    showStatistics();
  }, Math.max(0, counted + STATISTICS_EVERY_MS - Date.now()));
}

async function showErrors() {
  const card = $("#errors-card");
  card.hidden = !job.frames_failed;
  $("#errors-count").textContent = number(job.frames_failed);
  if (!job.frames_failed) return;
  const found = await attempt(() => get(`/v1/jobs/${job.id}/frames?state=failed&limit=${ERRORS}`));
  if (!found) return;
  $("#errors").replaceChildren(
    ...found.frames.map((row) => h("tr", {}, h("td", {}, h("a", { href: `/tasks/${task.id}/frames/${row.frame}` }, row.name)), h("td", {}, row.error), h("td", { class: "number" }, String(row.attempts)))),
    ...(found.next_cursor ? [h("tr", {}, h("td", { colspan: 3, class: "faint" }, `and ${number(job.frames_failed - found.frames.length)} more`))] : []),
  );
}

// Before the first frame: the model is downloaded, and loaded.
async function showLoading() {
  const box = $("#loading");
  if (job.waiting) {
    box.hidden = false;
    box.replaceChildren(h("div", { class: "waiting" }, h("span", { class: "spinner" }), job.waiting));
    return;
  }
  const waits = job.state === "running" && job.frames_done + job.frames_failed === 0 && !job.source_job_id;
  box.hidden = !waits && job.state !== "queued";
  if (job.state === "queued") box.replaceChildren(h("div", { class: "waiting" }, h("span", { class: "spinner" }), "Waiting for its turn"));
  if (!waits) return;
  const state = await get(`/v1/models/${job.spec.model_id}/download`).catch(() => null);
  const text = state?.state === "downloading" ? `The model is downloaded${state.total_bytes ? `: ${bytes(state.done_bytes)} of ${bytes(state.total_bytes)}` : ""}` : `The model is loaded${state?.doing ? `: ${state.doing}` : ""}`;
  box.replaceChildren(h("div", { class: "waiting" }, h("span", { class: "spinner" }), text));
  setTimeout(showLoading, 500);
}

// --- live ---

function live() {
  stop?.();
  if (!isAtWork()) return;
  showLoading();
  stop = watch(job.id, {
    onConnection: (stands) => ($("#connection").textContent = stands ? "Live" : "The server does not answer; trying again"),
    onProgress: async (data) => {
      const failedBefore = job.frames_failed;
      const [stateBefore, waitingBefore] = [job.state, job.waiting];
      Object.assign(job, { state: data.state, frames_done: data.frames_done, frames_failed: data.frames_failed, shapes_created: data.shapes_created, error: data.error, waiting: data.waiting });
      showLive(data);
      if (!isAtWork()) {
        $("#connection").textContent = "";
        job = await get(`/v1/jobs/${job.id}`).catch(() => job);
      }
      showState();
      if (job.frames_failed !== failedBefore) showErrors();
      if (job.state !== stateBefore || job.waiting !== waitingBefore) showLoading();
      countSoon();
    },
  });
}

function refresh(changed) {
  job = changed;
  showState();
  showErrors();
  showStatistics();
  live();
}

// --- what can be done ---

function action(id, run) {
  $(`#${id}`).addEventListener("click", (event) => busy(event.currentTarget, () => attempt(run)).then(showState));
}

action("cancel", async () => {
  job = await post(`/v1/jobs/${job.id}/cancel`);
  if (isAtWork()) toast("Cancelling.", { text: "What is in the model is finished, and kept." });
  else refresh(job);
});
action("resume", async () => refresh(await post(`/v1/jobs/${job.id}/resume`)));
action("retry", async () => refresh(await post(`/v1/jobs/${job.id}/retry`)));
action("undo", async () => {
  const made = await get(`/v1/jobs/${job.id}/statistics`);
  const back = job.spec.clean === "none" ? "" : " What it replaced comes back.";
  if (!(await confirm(`Undo job ${job.id}?`, `${many(made.shapes, "shape")} that it made go.${back} This cannot be taken back.`, { yes: "Undo", danger: true }))) return;
  const done = await post(`/v1/jobs/${job.id}/undo`);
  toast(`${many(done.removed, "shape")} taken away, ${number(done.restored)} brought back.`, { kind: "good" });
  refresh(await get(`/v1/jobs/${job.id}`));
});

showState();
showStatistics();
live();


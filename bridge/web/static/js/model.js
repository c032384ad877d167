// One model: its labels, its download, changing and removing it.
import { get, patch, post, remove } from "./api.js";
import { $, $$, busy, h, icon, props } from "./dom.js";
import { bytes } from "./format.js";
import { attempt, confirm, toastOnNextPage } from "./messages.js";
import { showLoaded } from "./runs-on.js";

const { model, download } = props();
showLoaded(model.loaded);

// --- labels ---

$("#label-filter")?.addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const item of $$("#labels li")) item.hidden = !item.textContent.toLowerCase().includes(wanted);
});

// --- download ---

function showDownload(state) {
  const badges = { ready: ["good", "ready"], absent: ["", "not downloaded"], downloading: ["accent", "downloading"], loading: ["accent", "loading"], failed: ["bad", "failed"] };
  const [kind, text] = badges[state.state];
  $("#download-state").replaceChildren(h("span", { class: `badge ${kind}` }, text));
  const box = $("#download-box");
  box.hidden = state.state === "ready";
  if (state.state === "downloading") {
    const bar = h("progress", { max: 1, class: "tall", "aria-label": "Download" });
    if (state.total_bytes) bar.value = state.done_bytes / state.total_bytes;
    box.replaceChildren(h("div", { class: "stack tight" }, bar, h("span", { class: "small faint number" }, state.total_bytes ? `${bytes(state.done_bytes)} of ${bytes(state.total_bytes)}` : "Beginning")));
  } else if (state.state === "loading") {
    box.replaceChildren(h("span", { class: "small faint" }, state.doing));
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
    if (!["downloading", "loading"].includes(state.state)) return;
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

showDownload(download);
if (["downloading", "loading"].includes(download.state)) follow();

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

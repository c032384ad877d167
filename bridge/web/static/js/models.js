// The list of models: filter, downloads as they run, and the dialog that adds one.
import { ApiError, get, post } from "./api.js";
import { $, $$, busy, debounce, h, icon } from "./dom.js";
import { bytes, many } from "./format.js";
import { shortcut } from "./keys.js";
import { attempt, toastOnNextPage } from "./messages.js";
import { runsOn } from "./runs-on.js";

// --- the list ---

function filter() {
  const words = $("#filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of $$("#models tr")) {
    row.hidden = !words.every((word) => row.dataset.words.includes(word));
    shown += row.hidden ? 0 : 1;
  }
  $("#nothing").hidden = shown > 0;
}

function showDownload(cell, state) {
  cell.dataset.state = state.state;
  if (state.state === "downloading") {
    const known = state.total_bytes > 0;
    const bar = h("progress", { max: 1, "aria-label": "Download" });
    if (known) bar.value = state.done_bytes / state.total_bytes;
    cell.replaceChildren(h("div", { class: "stack tight" }, bar, h("span", { class: "small faint nowrap number" }, known ? `${bytes(state.done_bytes)} of ${bytes(state.total_bytes)}` : "beginning")));
  } else if (state.state === "loading") {
    cell.replaceChildren(h("span", { class: "badge accent", title: state.doing }, "loading"));
  } else if (state.state === "ready") {
    cell.replaceChildren(h("span", { class: "badge good" }, "ready"));
  } else if (state.state === "failed") {
    cell.replaceChildren(h("span", { class: "badge bad" }, "failed"), h("div", { class: "small bad-text" }, state.error));
  }
}

async function follow(row) {
  const cell = $(".state-cell", row);
  for (;;) {
    const state = await attempt(() => get(`/v1/models/${row.dataset.model}/download`));
    if (!state) return;
    showDownload(cell, state);
    if (!["downloading", "loading"].includes(state.state)) return;
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

if ($("#filter")) {
  $("#filter").addEventListener("input", filter);
  for (const row of $$("#models tr")) {
    if (["downloading", "loading"].includes($(".state-cell", row).dataset.state)) follow(row);
    $("[data-download]", row)?.addEventListener("click", (event) =>
      busy(event.currentTarget, async () => {
        if (await attempt(() => post(`/v1/models/${row.dataset.model}/download`))) await follow(row);
      }),
    );
  }
}

// --- adding one ---

const dialog = $("#add-model");
const reference = $("#reference");
let run = "auto";
let understood = null;
let asked = 0;

function say(kind, text, hint = "") {
  const names = { good: "check", bad: "alert", accent: "search" };
  $("#understood").replaceChildren(h("div", { class: `note ${kind}` }, icon(names[kind] ?? "info"), h("span", {}, text, hint && h("span", { class: "faint-block" }, ` ${hint}`))));
}

function showKey(needed, why) {
  $("#key-field").hidden = !needed;
  if (!needed) return;
  const names = { huggingface: "Hugging Face token", roboflow: "Roboflow API key", nuclio: "Nuclio user:password" };
  $("#key-label").textContent = names[understood.account_kind] ?? "Key";
  $("#key-help").textContent = `${why} It is stored encrypted, used for ${understood.account_host} only, and never shown again.`;
}

async function understand() {
  const text = reference.value.trim();
  const turn = ++asked;
  forget();
  understood = null;
  if (!text) {
    $("#understood").replaceChildren(h("span", { class: "help" }, "From a Hugging Face or Roboflow page, an inference endpoint or server, a Nuclio function, or a folder on the server."));
    $("#look").disabled = true;
    $("#key-field").hidden = $("#where-field").hidden = true;
    return;
  }
  try {
    const answer = await post("/v1/models/understand", { reference: text });
    if (turn !== asked) return;
    understood = answer;
    reference.removeAttribute("aria-invalid");
    say("good", answer.summary, answer.key_known ? "A key for it is there." : "");
    showKey(answer.key === "required" && !answer.key_known, "It needs a key.");
    $("#where-field").hidden = answer.kind !== "huggingface";
    $("#look").disabled = false;
  } catch (error) {
    if (turn !== asked) return;
    reference.setAttribute("aria-invalid", "true");
    say("bad", error.message, error.hint);
    $("#look").disabled = true;
    $("#key-field").hidden = $("#where-field").hidden = true;
  }
}

function forget() {
  $("#resolved").hidden = true;
  $("#add-error").hidden = true;
  $("#register").hidden = true;
  $("#look").hidden = false;
  $("#look").classList.add("primary");
}

function showError(error) {
  $("#add-error").hidden = false;
  $("#add-error").replaceChildren(h("div", { class: "note bad" }, icon("alert"), h("span", {}, h("strong", {}, error.message), ` ${error.hint ?? ""}`)));
  if (error instanceof ApiError && error.code === "access_denied" && understood?.account_kind) {
    showKey(true, "This model is private or gated.");
    $("#key").focus();
  }
}

function showCard(card) {
  const facts = [
    ["Task type", card.task_type],
    ["Makes", card.shape_types.join(", ")],
    ["Runs", runsOn(card)],
    ["Licence", card.licence ?? "not stated"],
    ["Download", card.engine === "hosted" ? "none" : card.weights_bytes ? bytes(card.weights_bytes) : "size unknown"],
    ["Revision", card.revision.slice(0, 12)],
  ];
  const labels = card.labels ?? [];
  const list = h("ul", { class: "chips label-list", tabindex: "0", "aria-label": "Labels" }, labels.map((label) => h("li", { class: "chip" }, label)));
  $("#resolved").replaceChildren(
    h("div", { class: "stack" },
      h("h3", {}, card.name),
      h("dl", { class: "facts two" }, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      h("h3", {}, card.labels === null ? "Open vocabulary: it finds what it is told to look for" : many(labels.length, "label")),
      labels.length > 0 && list,
      card.notes.map((note) => h("div", { class: "note" }, icon("info"), h("span", {}, note))),
    ),
  );
  showRegister();
}

function showRegister() {
  $("#resolved").hidden = false;
  $("#look").hidden = true;
  $("#register").hidden = false;
  $("#register").focus();
}

// What only its file can tell is shown on its page.
function showDownloadFirst(error) {
  $("#resolved").replaceChildren(h("div", { class: "note" }, icon("info"), h("span", {}, `${error.message} It is downloaded when you add it.`)));
  showRegister();
}

const body = () => ({ reference: reference.value.trim(), run });

$("#add-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("#look").disabled || $("#look").hidden) return;
  forget();
  busy($("#look"), async () => {
    try {
      const key = $("#key").value;
      if (key && !$("#key-field").hidden) {
        await post("/v1/connections", { kind: understood.account_kind, host: understood.account_host, secret: key });
        $("#key").value = "";
      }
      showCard(await post("/v1/models/resolve", body()));
    } catch (error) {
      if (error instanceof ApiError && error.code === "must_be_downloaded") showDownloadFirst(error);
      else showError(error);
    }
  });
});

$("#register").addEventListener("click", () =>
  busy($("#register"), async () => {
    try {
      const model = await post("/v1/models", body());
      if (!model.fetched) await attempt(() => post(`/v1/models/${model.id}/download`));
      toastOnNextPage(`${model.name} was added.`, { kind: "good" });
      location.href = `/models/${model.id}`;
    } catch (error) {
      showError(error);
    }
  }),
);

for (const button of $$("[data-run]")) {
  button.addEventListener("click", () => {
    run = button.dataset.run;
    for (const each of $$("[data-run]")) each.setAttribute("aria-pressed", String(each === button));
    forget();
  });
}
reference.addEventListener("input", debounce(understand, 120));
shortcut(["n"], "Add a model", () => dialog.showModal());
if (location.hash === "#add") dialog.showModal();

// A new task: its name, its labels in three forms, its images.
import { post } from "./api.js";
import { $, $$, busy, icon } from "./dom.js";
import { LabelRows, labelsFromList, labelsFromRaw } from "./labels.js";
import { failed, toastOnNextPage } from "./messages.js";
import { tabs } from "./tabs.js";
import { Upload, summary } from "./upload.js";

const types = $$("#types option").map((option) => option.value);
const rows = new LabelRows($("#label-rows"), types);
const upload = new Upload();
let form = "form";
let task = null; // made already, where its images then failed

rows.add();
$("#add-label").addEventListener("click", () => rows.add({}, { focus: true }));

function wrong(id, text) {
  $(`#${id}`).hidden = !text;
  $(`#${id}`).replaceChildren(...(text ? [icon("alert"), text] : []));
}

function labels() {
  if (form === "raw") return labelsFromRaw($("#raw").value.trim() || "[]");
  return form === "list" ? labelsFromList($("#list").value, types) : rows.labels();
}

const [labelTabs, imageTabs] = $$("[role=tablist]");
tabs(labelTabs, (tab) => {
  // What is there already goes along where it can.
  let known = [];
  try {
    known = labels();
  } catch {
    // stays in its own form
  }
  const next = tab.id.replace("tab-", "");
  if (next !== form && known.length) {
    if (next === "form") {
      $("#label-rows").replaceChildren();
      for (const label of known) rows.add(label);
    } else if (next === "list") {
      $("#list").value = known.map((label) => (label.type && label.type !== "any" ? `${label.name}:${label.type}` : label.name)).join("\n");
    } else {
      $("#raw").value = JSON.stringify(known, null, 2);
    }
  }
  form = next;
  wrong("labels-wrong", "");
});
const images = tabs(imageTabs);

function checked() {
  const name = $("#name").value.trim();
  wrong("name-wrong", name ? "" : "Give the task a name.");
  $("#name").toggleAttribute("aria-invalid", !name);
  let found = [];
  try {
    found = labels();
    const twice = found.find((label, at) => found.findIndex((other) => other.name === label.name) !== at);
    wrong("labels-wrong", twice ? `The label ${twice.name} is there twice.` : found.length ? "" : "Give at least one label.");
    if (twice) found = [];
  } catch (error) {
    wrong("labels-wrong", error.message);
  }
  if (!name) $("#name").focus();
  return name && found.length ? { name, labels: found } : null;
}

async function addImages() {
  if (images.chosen().id === "tab-server") {
    const paths = ($("#paths")?.value ?? "").split("\n").map((path) => path.trim()).filter(Boolean);
    if (!paths.length) return null;
    return post(`/v1/tasks/${task.id}/frames`, { server_paths: paths });
  }
  return upload.files.length ? upload.sendTo(task.id) : null;
}

$("#form").addEventListener("submit", (event) => {
  event.preventDefault();
  busy($("#create"), async () => {
    try {
      if (!task) {
        const body = checked();
        if (!body) return;
        task = await post("/v1/tasks", body);
      }
      const sums = await addImages();
      if (sums) {
        const { title, options } = summary(sums);
        toastOnNextPage(title, options);
      }
      location.href = `/tasks/${task.id}`;
    } catch (error) {
      failed(error);
      if (!task) return;
      // It is there already: what is left is to add images to it.
      $("#name").disabled = true;
      $("#create").lastChild.textContent = "Add the images";
    }
  });
});

$("#remote-form")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const remote = $("#remote").value.trim();
  if (!remote) return;
  busy($("#connect"), async () => {
    try {
      const found = await post("/v1/tasks", { remote });
      location.href = `/tasks/${found.id}`;
    } catch (error) {
      failed(error);
    }
  });
});

// What runs a model, in words; what it really computes with is known when it has been loaded.
import { get } from "./api.js";
import { $, h } from "./dom.js";

const ENGINES = { onnxruntime: "ONNX Runtime", transformers: "PyTorch", openvino: "OpenVINO" };

// on: engine, and device and precision where they are known
export function runsOn(on) {
  if (on.engine === "hosted") return "At its host";
  const device = on.device ? ` on ${on.device}` : "";
  return `Here, ${ENGINES[on.engine] ?? on.engine}${device}${on.precision ? `, ${on.precision} precision` : ""}`;
}

// Into the facts of the model's page.
export function showLoaded(loaded) {
  if (!loaded) return;
  $("#runs").replaceChildren(runsOn(loaded), loaded.why ? h("p", { class: "small faint" }, loaded.why) : "");
}

let known = false;

// After an answer of the model: it is loaded now. Asked once.
export async function lookWhatRuns(model) {
  if (known) return;
  known = true;
  try {
    showLoaded((await get(`/v1/models/${model.id}`)).loaded);
  } catch {
    known = false; // a side note: the next answer asks again
  }
}

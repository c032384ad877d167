// A model that cuts out what a person points at, tried on an image: clicks, a box, and the mask that they mean.
import { send } from "./api.js";
import { $, props } from "./dom.js";
import { number, score } from "./format.js";
import { FrameView } from "./frame-view.js";
import { failed } from "./messages.js";
import { Pointing } from "./pointing.js";
import { lookWhatRuns } from "./runs-on.js";
import { showResult, tryImage } from "./try-image.js";

const { model } = props();
const COLOR = "#4f6df5";
let file = null;
let asking = null; // what is clicked meanwhile takes the place of what was asked before
let view = null;
let pointing = null;

async function begin(chosen) {
  asking?.abort();
  showResult(true);
  if (!view) {
    view = new FrameView($("#try-canvas"), { zoomable: false });
    pointing = view.region = new Pointing(view, ask);
  }
  const url = URL.createObjectURL(chosen);
  try {
    await view.setImage(url);
  } catch {
    failed({ message: `${chosen.name} cannot be shown, so nothing in it can be clicked.`, hint: "Choose a JPEG, PNG or WebP file." });
    showResult(false);
    return;
  } finally {
    URL.revokeObjectURL(url);
  }
  file = chosen;
  pointing.clear();
}

async function ask() {
  asking?.abort();
  view.setShapes([]);
  $("#try-undo").disabled = $("#try-clear").disabled = pointing.isEmpty;
  $("#try-wait").hidden = !pointing.isMeant;
  $("#try-count").textContent = pointing.isEmpty ? "" : "Click on the object, too";
  if (!pointing.isMeant) return;
  const mine = (asking = new AbortController());
  $("#try-count").textContent = "";
  try {
    const found = await send(`/v1/models/${model.id}/segment?${pointing.query}`, file, { type: file.type, signal: mine.signal });
    if (mine.signal.aborted) return;
    lookWhatRuns(model);
    view.setShapes(found.rle ? [{ type: "mask", rle: found.rle, label: "object", score: found.score, color: COLOR }] : []);
    $("#try-count").textContent = found.rle ? `${number(found.box[2] - found.box[0])} × ${number(found.box[3] - found.box[1])} pixels, score ${score(found.score)}` : "Nothing is found there";
  } catch (error) {
    if (!mine.signal.aborted) failed(error);
  } finally {
    if (mine === asking) $("#try-wait").hidden = true;
  }
}

$("#try-undo").addEventListener("click", () => pointing.undo());
$("#try-clear").addEventListener("click", () => pointing.clear());
tryImage(begin);

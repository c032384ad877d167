// A task's labels as people write them: rows of a form, a list, or the raw JSON of CVAT's label constructor.
import { $, $$, h, icon } from "./dom.js";

const GOLDEN_ANGLE = 0.381966; // of a turn: successive hues stay far apart, as the server does it

function colorOf(position) {
  const hue = (position * GOLDEN_ANGLE) % 1;
  const channel = (shift) => {
    const k = (shift + hue * 12) % 12;
    return Math.round((0.5 - 0.36 * Math.max(-1, Math.min(k - 3, 9 - k, 1))) * 255).toString(16).padStart(2, "0");
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}

export class LabelRows {
  constructor(list, types) {
    Object.assign(this, { list, types, made: 0 });
  }

  add(label = {}, { focus = false } = {}) {
    const number = this.made++;
    const name = h("input", { type: "text", maxlength: 64, placeholder: "Label", autocomplete: "off", "aria-label": `Name of label ${number + 1}`, ".value": label.name ?? "" });
    const color = h("input", { type: "color", "aria-label": `Colour of label ${number + 1}`, ".value": label.color ?? colorOf(number) });
    const type = h("select", { "aria-label": `Type of label ${number + 1}` }, this.types.map((each) => h("option", { value: each, selected: each === (label.type ?? "any") }, each === "any" ? "any shape" : each)));
    const row = h("li", { class: "label-row" }, color, name, type, h("button", { type: "button", class: "button quiet icon-only", "aria-label": "Remove this label", onclick: () => this.remove(row) }, icon("x")));
    name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      if (name.value.trim()) this.add({}, { focus: true });
    });
    name.addEventListener("paste", (event) => this.paste(event, name));
    this.list.append(row);
    if (focus) name.focus();
  }

  // Several names at once, from a list: each becomes a row.
  paste(event, name) {
    const names = event.clipboardData.getData("text").split(/[\n,]/).map((each) => each.trim()).filter(Boolean);
    if (names.length < 2) return;
    event.preventDefault();
    name.value = names[0];
    for (const each of names.slice(1)) this.add({ name: each });
  }

  remove(row) {
    row.remove();
    if (!this.list.children.length) this.add();
    $("input[type=text]", this.list.lastElementChild).focus();
  }

  labels() {
    return $$(".label-row", this.list)
      .map((row) => ({ name: $("input[type=text]", row).value.trim(), color: $("input[type=color]", row).value, type: $("select", row).value }))
      .filter((label) => label.name);
  }
}

// Lines or commas; name:type. Throws where nothing is there.
export function labelsFromList(text, types) {
  return text.split(/[\n,]/).map((entry) => entry.replace(/#.*/, "").trim()).filter(Boolean).map((entry) => {
    const at = entry.lastIndexOf(":");
    const type = at > 0 ? entry.slice(at + 1).trim() : "";
    return types.includes(type) ? { name: entry.slice(0, at).trim(), type } : { name: entry };
  });
}

// What the REST API takes of CVAT's raw JSON: ids and drawings of skeletons are left out. Throws a sentence.
export function labelsFromRaw(text) {
  let data;
  try {
    data = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}.`);
  }
  if (!Array.isArray(data)) data = data?.labels;
  if (!Array.isArray(data)) throw new Error("Raw labels are a JSON list: [{\"name\": \"car\"}].");
  return data.map((label, at) => {
    if (typeof label?.name !== "string") throw new Error(`Label ${at + 1} has no name.`);
    const kept = { name: label.name };
    if (label.type) kept.type = label.type;
    if (/^#[0-9a-f]{6}$/i.test(label.color ?? "")) kept.color = label.color;
    if (label.attributes?.length) kept.attributes = label.attributes.map(attributeOf);
    if (label.sublabels?.length) kept.sublabels = label.sublabels.map((each) => ({ name: each.name }));
    return kept;
  });
}

function attributeOf({ name, input_type, values, mutable, default_value }) {
  const kept = { name, values: (values ?? []).map(String) };
  if (input_type) kept.input_type = input_type;
  if (mutable !== undefined) kept.mutable = Boolean(mutable);
  if (default_value !== undefined && default_value !== null) kept.default_value = String(default_value);
  return kept;
}

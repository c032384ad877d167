// What a model with an open vocabulary looks for: the task's labels, by their names or in other words.
import { h, swatch } from "./dom.js";

export class Prompting {
  // taskLabels: those that the model's shapes can become. It answers to the same calls as Matching.
  constructor(root, taskLabels, onChange) {
    Object.assign(this, { root, taskLabels, onChange, left: new Set(), texts: new Map() });
  }

  get matched() {
    return this.total - this.left.size;
  }

  get total() {
    return this.taskLabels.length;
  }

  // As a job's spec has it: texts by label, and what is left out on purpose.
  get spec() {
    const asked = [...this.texts].filter(([label, texts]) => texts.length && !this.left.has(label));
    return { prompts: Object.fromEntries(asked), mapping: Object.fromEntries([...this.left].map((label) => [label, ""])) };
  }

  show() {
    const rows = this.taskLabels.map((label) => this.row(label));
    this.root.replaceChildren(
      h("p", { class: "prompt-intro small faint" }, "This model has an open vocabulary: it looks for your labels by their names. Say it in other words where a name is not enough, with commas between them."),
      h("ul", { class: "prompt-rows" }, rows),
    );
    this.onChange();
  }

  row({ name, color }) {
    const text = h("input", { type: "text", placeholder: name, autocomplete: "off", maxlength: 2000, "aria-label": `What to look for as ${name}`, ".value": (this.texts.get(name) ?? []).join(", ") });
    const box = h("input", { type: "checkbox", "aria-label": `Look for ${name}`, ".checked": !this.left.has(name) });
    text.disabled = !box.checked;
    text.addEventListener("change", () => {
      this.texts.set(name, text.value.split(",").map((each) => each.trim()).filter(Boolean));
      this.onChange();
    });
    box.addEventListener("change", () => {
      if (box.checked) this.left.delete(name);
      else this.left.add(name);
      text.disabled = !box.checked;
      this.onChange();
    });
    return h("li", {}, h("label", {}, box, swatch(color), h("span", {}, name)), text);
  }
}

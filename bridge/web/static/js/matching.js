// Label matching: which task label each model label becomes. A person's choice counts, then what is certain; the rest
// is offered. `decided` holds choices only, so that what nobody touched teaches the matcher nothing.
import { h, icon, swatch } from "./dom.js";
import { many, score } from "./format.js";

const ROWS = 150; // drawn at once; more on demand

export class Matching {
  // taskLabels: [{ name, color }]; onChange is told after every choice.
  constructor(root, taskLabels, onChange) {
    Object.assign(this, { root, taskLabels, onChange, matches: [], base: null, decided: new Map(), thresholds: new Map() });
    Object.assign(this, { filter: "all", search: "", most: ROWS, ownThresholds: false });
    this.colors = Object.fromEntries(taskLabels.map((label) => [label.name, label.color]));
  }

  // What the server suggests for a model: [{ model_label, task_label, score, reason, accepted, alternatives }].
  setMatches(matches) {
    this.matches = matches;
    this.base = null;
    this.decided.clear();
    this.thresholds.clear();
    this.most = ROWS;
    this.show();
  }

  // A saved mapping to start from, or null for the suggestions.
  setBase(mapping) {
    this.base = mapping;
    this.decided.clear();
    this.show();
  }

  chosen(match) {
    const decided = this.decided.get(match.model_label);
    if (decided !== undefined) return decided;
    if (this.base) return this.base.pairs[match.model_label] ?? "";
    return match.accepted ? match.task_label : "";
  }

  choose(match, taskLabel) {
    this.decided.set(match.model_label, taskLabel);
    this.show();
  }

  acceptFrom(least) {
    let count = 0;
    for (const match of this.matches) {
      if (this.chosen(match) || this.decided.has(match.model_label) || !match.task_label || match.score < least) continue;
      this.decided.set(match.model_label, match.task_label);
      count++;
    }
    this.show();
    return count;
  }

  get matched() {
    return this.matches.filter((match) => this.chosen(match)).length;
  }

  get total() {
    return this.matches.length;
  }

  // As a job's spec has it.
  get spec() {
    const kept = [...this.thresholds].filter(([label]) => this.ownThresholds && this.matches.some((match) => match.model_label === label));
    return { mapping: Object.fromEntries(this.decided), ...(this.base && { mapping_id: this.base.id }), label_thresholds: Object.fromEntries(kept) };
  }

  show({ keepFocus = true } = {}) {
    const focused = keepFocus ? document.activeElement?.dataset?.label : undefined;
    const scrolled = this.root.firstElementChild?.scrollTop ?? 0;
    this.root.replaceChildren(this.filter === "groups" ? this.groups() : this.table());
    if (this.root.firstElementChild) this.root.firstElementChild.scrollTop = scrolled;
    if (focused !== undefined) [...this.root.querySelectorAll("select")].find((each) => each.dataset.label === focused)?.focus();
    this.onChange();
  }

  isShown(match) {
    const chosen = this.chosen(match);
    if (this.filter === "unmatched" && chosen) return false;
    if (this.filter === "matched" && !chosen) return false;
    const text = `${match.model_label} ${chosen} ${match.task_label ?? ""}`.toLowerCase();
    return text.includes(this.search.toLowerCase());
  }

  table() {
    const shown = this.matches.filter((match) => this.isShown(match));
    if (!shown.length) {
      const text = this.search ? "No label matches that." : this.filter === "unmatched" ? "Every label of the model is matched." : "No label is matched yet.";
      return h("div", { class: "empty" }, h("p", {}, text));
    }
    const head = h("tr", {}, h("th", { scope: "col", class: "col-model" }, "Model label"), h("th", { scope: "col", class: "col-task" }, "Task label"), h("th", { scope: "col" }, "Why"), this.ownThresholds && h("th", { scope: "col", class: "col-threshold" }, "Threshold"));
    const rows = shown.slice(0, this.most).map((match) => this.row(match));
    const more = shown.length > this.most && h("tr", {}, h("td", { colspan: this.ownThresholds ? 4 : 3 }, h("button", { type: "button", class: "button", onclick: () => { this.most += 4 * ROWS; this.show(); } }, `Show ${many(shown.length - this.most, "more label", "more labels")}`)));
    return h("div", { class: "match-table", tabindex: "0", role: "region", "aria-label": "Label matching" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows, more)));
  }

  row(match) {
    const chosen = this.chosen(match);
    const select = h("select", { "aria-label": `Task label for ${match.model_label}`, "data-label": match.model_label, onchange: (event) => this.choose(match, event.target.value) },
      h("option", { value: "" }, "Leave out"), this.taskLabels.map((label) => h("option", { value: label.name, selected: label.name === chosen }, label.name)));
    const cell = h("div", { class: "task-cell" }, swatch(chosen ? this.colors[chosen] : "#88888866"), select);
    return h("tr", { class: chosen ? "matched" : "left" },
      h("td", {}, h("span", { class: "model-label" }, match.model_label)), h("td", {}, cell), h("td", {}, this.why(match, chosen)),
      this.ownThresholds && h("td", {}, chosen ? this.threshold(match) : ""));
  }

  why(match, chosen) {
    const offers = match.task_label ? [{ task_label: match.task_label, score: match.score, reason: match.reason }, ...match.alternatives] : [];
    const taken = offers.find((offer) => offer.task_label === chosen);
    const others = offers.filter((offer) => offer !== taken);
    const parts = [];
    if (chosen && taken) parts.push(h("span", { class: "score" }, score(taken.score)), h("span", { class: "reason" }, taken.reason));
    else if (chosen) parts.push(h("span", { class: "reason" }, this.decided.has(match.model_label) ? "chosen by you" : "from the saved mapping"));
    else if (!offers.length) parts.push(h("span", { class: "reason" }, "nothing like it in the task"));
    else if (this.decided.has(match.model_label)) parts.push(h("span", { class: "reason" }, "left out by you"));
    others.slice(0, 3).forEach((offer, at) => parts.push(
      h("button", { type: "button", class: `offer ${!chosen && at === 0 ? "best" : ""}`, title: offer.reason, "aria-label": `Match ${match.model_label} to ${offer.task_label}`, onclick: () => this.choose(match, offer.task_label) },
        !chosen && at === 0 && icon("check"), offer.task_label, h("span", { class: "score" }, score(offer.score)))));
    if (!chosen && others.length && !this.decided.has(match.model_label)) parts.push(h("span", { class: "reason" }, others[0].reason));
    return h("div", { class: "why" }, parts);
  }

  threshold(match) {
    return h("input", { type: "number", min: 0, max: 1, step: 0.05, placeholder: "as above", "aria-label": `Threshold of ${match.model_label}`, ".value": this.thresholds.get(match.model_label) ?? "",
      onchange: (event) => {
        const value = event.target.value;
        if (value === "") this.thresholds.delete(match.model_label);
        else this.thresholds.set(match.model_label, Math.min(1, Math.max(0, Number(value))));
        this.onChange();
      } });
  }

  // Many to one, seen from the task's labels.
  groups() {
    const by = new Map(this.taskLabels.map((label) => [label.name, []]));
    for (const match of this.matches) if (this.chosen(match)) by.get(this.chosen(match))?.push(match);
    const items = [...by].filter(([name]) => name.toLowerCase().includes(this.search.toLowerCase())).map(([name, members]) =>
      h("li", {}, h("span", { class: "name" }, swatch(this.colors[name]), name),
        members.length ? h("div", { class: "chips" }, members.map((match) => h("span", { class: "chip" }, match.model_label, h("button", { type: "button", class: "chip-x", "aria-label": `Leave ${match.model_label} out`, onclick: () => this.choose(match, "") }, icon("x"))))) : h("span", { class: "faint" }, "no label of the model")));
    return h("ul", { class: "group-list", tabindex: "0", "aria-label": "Model labels by task label" }, items);
  }
}

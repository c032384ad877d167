// A job as the viewer shows it: its threshold over the raw scores, other thresholds and labels from stored results.
import { get, post } from "./api.js";
import { coverage, histogram, labelBars } from "./charts.js";
import { $, busy, h, icon } from "./dom.js";
import { many, number, score } from "./format.js";
import { failed, toast } from "./messages.js";
import { follow } from "./job-events.js";

export async function showTaskCharts(task, colors) {
  try {
    const found = await get(`/v1/tasks/${task.id}/statistics`);
    $("#task-charts").replaceChildren(coverage(found.annotated, found.frames), labelBars(Object.entries(found.labels), colors, { most: 8 }));
  } catch (error) {
    $("#task-charts").replaceChildren(h("p", { class: "small faint" }, error.message));
  }
}

export class JobPanel {
  // onChange is told when another job is chosen, or one has changed the shapes.
  constructor({ task, jobs, colors, chosen, onChange }) {
    Object.assign(this, { task, colors, onChange, raw: null, job: null, jobs: jobs.filter((each) => !each.undone) });
    this.id = chosen?.id ?? this.jobs[0]?.id ?? null;
    if (!this.id) return;
    if (!this.jobs.some((each) => each.id === this.id)) this.jobs.push({ id: this.id, model: chosen.resolved.model });
    $("#job-section").hidden = false;
    this.fillSelect();
    $("#job").addEventListener("change", (event) => {
      this.id = Number(event.target.value);
      this.load();
      this.onChange();
    });
    $("#remap-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.remap();
    });
    this.load();
  }

  fillSelect() {
    $("#job").replaceChildren(...this.jobs.map((each) => h("option", { value: String(each.id), selected: each.id === this.id }, `Job ${each.id}: ${each.model}`)));
  }

  async load() {
    const body = $("#job-body");
    body.replaceChildren(h("div", { class: "skeleton" }), h("div", { class: "skeleton" }));
    try {
      [this.job, this.raw] = await Promise.all([get(`/v1/jobs/${this.id}`), get(`/v1/jobs/${this.id}/scores`)]);
      this.show();
    } catch (error) {
      body.replaceChildren(h("p", { class: "small faint" }, error.message));
    }
  }

  show() {
    const { threshold, floor_score: floor } = this.job.resolved;
    if (!this.raw.frames_read) {
      $("#job-body").replaceChildren(h("p", { class: "small faint" }, "This job has left no raw results."));
      return;
    }
    const slider = h("input", { type: "range", id: "job-threshold", min: Math.ceil(floor * 100) / 100, max: 1, step: 0.01, ".value": String(threshold) });
    const output = h("output", { class: "number" });
    const chart = h("div");
    const text = h("p", { class: "small faint", role: "status" });
    const apply = h("button", { type: "button", class: "button primary", id: "apply-threshold" }, "Apply to the task");
    const update = () => {
      const value = Number(slider.value);
      output.textContent = score(value);
      chart.replaceChildren(histogram(this.bins(), { threshold: value, name: "Detections by score" }));
      text.textContent = this.sentence(value);
      apply.disabled = Math.abs(value - threshold) < 0.005;
    };
    slider.addEventListener("input", update);
    apply.addEventListener("click", () => busy(apply, () => this.apply({ threshold: Number(slider.value) })).then(() => apply.isConnected && update()));
    const remap = h("button", { type: "button", class: "button", id: "open-remap" }, "Other labels");
    remap.addEventListener("click", () => this.openRemap());
    $("#job-body").replaceChildren(
      h("div", { class: "field" }, h("label", { for: "job-threshold" }, "Threshold ", output), slider), chart, text,
      h("div", { class: "row" }, apply, remap, h("a", { class: "button quiet", href: `/jobs/${this.id}` }, "Job", icon("right"))));
    update();
  }

  // Detections by score, of the labels that are matched.
  bins() {
    const sums = new Array(20).fill(0);
    for (const [label, bins] of Object.entries(this.raw.labels)) {
      if (this.job.resolved.pairs[label]) bins.forEach((count, at) => (sums[at] += count));
    }
    return sums;
  }

  sentence(threshold) {
    const kept = this.bins().reduce((sum, count, at) => sum + ((at + 0.5) / 20 >= threshold ? count : 0), 0);
    const part = this.raw.frames_read < this.raw.frames_total ? ` on ${number(this.raw.frames_read)} of ${number(this.raw.frames_total)} frames` : "";
    return `About ${many(kept, "shape")} from there on${part}; nothing is predicted again.`;
  }

  async apply(changes) {
    try {
      const made = await post(`/v1/jobs/${this.id}/apply`, changes);
      const ended = await follow(made.id);
      if (ended.state !== "succeeded") throw Object.assign(new Error(`Job ${made.id} ${ended.state}.`), { hint: ended.error ?? "" });
      toast(`${many(ended.shapes_created, "shape")} from stored results.`, { kind: "good", text: `Job ${made.id}; it can be undone.` });
      this.jobs.unshift({ id: made.id, model: made.resolved.model });
      this.id = made.id;
      this.fillSelect();
      await this.load();
      this.onChange();
      showTaskCharts(this.task, this.colors);
    } catch (error) {
      failed(error);
    }
  }

  openRemap() {
    const labels = [...new Set([...Object.keys(this.raw.labels), ...Object.keys(this.job.resolved.pairs)])];
    $("#remap-rows").replaceChildren(...labels.flatMap((label) => {
      const now = this.job.resolved.pairs[label] ?? "";
      const count = (this.raw.labels[label] ?? []).reduce((sum, each) => sum + each, 0);
      return [
        h("span", { class: "name" }, label, h("span", { class: "faint" }, ` ${number(count)}`)),
        h("select", { "aria-label": `Task label for ${label}`, "data-label": label, "data-now": now }, h("option", { value: "" }, "Leave out"), this.task.labels.map((each) => h("option", { value: each.name, selected: each.name === now }, each.name))),
      ];
    }));
    $("#remap").showModal();
  }

  remap() {
    const changed = [...$("#remap-rows").querySelectorAll("select")].filter((select) => select.value !== select.dataset.now);
    if (!changed.length) {
      $("#remap").close();
      return;
    }
    busy($("#remap-apply"), async () => {
      await this.apply({ mapping: Object.fromEntries(changed.map((select) => [select.dataset.label, select.value])) });
      $("#remap").close();
    });
  }
}

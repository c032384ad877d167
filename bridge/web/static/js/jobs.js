// The list of jobs: those at work are looked at again and again, and the page is shown anew when one ends.
import { get } from "./api.js";
import { $, $$ } from "./dom.js";
import { number } from "./format.js";

const EVERY_MS = 2000;

const atWork = () => $$("[data-job]").filter((row) => ["queued", "running"].includes(row.dataset.state));

async function look() {
  for (const row of atWork()) {
    const job = await get(`/v1/jobs/${row.dataset.job}`).catch(() => null);
    if (!job) return;
    if (job.state !== row.dataset.state) {
      location.reload();
      return;
    }
    $("progress", row).value = job.frames_done + job.frames_failed;
    $("[data-cell=progress] div", row).textContent = `${number(job.frames_done)} of ${number(job.frames_total)}${job.frames_failed ? `, ${number(job.frames_failed)} failed` : ""}`;
    $("[data-cell=shapes]", row).textContent = number(job.shapes_created);
  }
}

if (atWork().length) setInterval(() => document.hidden || look(), EVERY_MS);

// The list of tasks: coverage is counted after the page is there.
import { get } from "./api.js";
import { $, $$ } from "./dom.js";
import { number, percent } from "./format.js";
import { shortcut } from "./keys.js";

for (const card of $$("[data-task]")) {
  if (card.dataset.frames === "0") continue;
  const [bar, text] = [$("progress", card), $("[data-coverage] span", card)];
  get(`/v1/tasks/${card.dataset.task}/coverage`).then(
    ({ frames, annotated }) => {
      bar.max = Math.max(1, frames);
      bar.value = annotated;
      text.textContent = annotated === frames ? "Every frame has shapes" : `${percent(annotated, frames)} of the frames have shapes, ${number(frames - annotated)} have none`;
    },
    (error) => (text.textContent = error.message),
  );
}

shortcut(["n"], "New task", () => (location.href = "/tasks/new"));

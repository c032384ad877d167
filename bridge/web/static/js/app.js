// What every page does: theme, shortcuts, times in the reader's own zone, messages kept from the page before.
import { $, $$ } from "./dom.js";
import { ago } from "./format.js";
import { openHelp, shortcut } from "./keys.js";
import { showKeptToast } from "./messages.js";

$("#theme-toggle").addEventListener("click", () => globalThis.toggleTheme());
$("#help-open").addEventListener("click", openHelp);

export function showTimes(within = document) {
  for (const element of $$("time[datetime]", within)) {
    const date = new Date(element.dateTime);
    element.textContent = ago(date);
    element.title = date.toLocaleString();
  }
}

for (const [key, path, name] of [["g t", "/tasks", "tasks"], ["g m", "/models", "models"], ["g j", "/jobs", "jobs"], ["g s", "/settings", "settings"]]) {
  shortcut([key], `Go to ${name}`, () => (location.href = path), "Everywhere");
}
shortcut(["t"], "Change between light and dark", () => globalThis.toggleTheme(), "Everywhere");
shortcut(["?"], "Show this overview", openHelp, "Everywhere");
if ($("[data-search]")) shortcut(["/"], "Search", () => $("[data-search]").focus());

// A click on the ground closes a dialog that holds nothing which could be lost.
for (const dialog of $$("dialog#help")) dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

for (const opener of $$("[data-opens]")) {
  opener.addEventListener("click", () => $(`#${opener.dataset.opens}`).showModal());
}
for (const closer of $$("[data-closes]")) closer.addEventListener("click", () => closer.closest("dialog").close());

showTimes();
setInterval(showTimes, 30_000);
showKeptToast();

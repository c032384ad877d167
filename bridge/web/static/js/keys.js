// Keyboard shortcuts, each with a sentence for the overlay that "?" opens.
import { $, h } from "./dom.js";

const shortcuts = [];
const NAMES = { ArrowLeft: "←", ArrowRight: "→", " ": "Space", Escape: "Esc" };
let pending = "";

// keys: one or more, such as ["ArrowRight", "f"] or ["g t"], of which the first are shown.
export function shortcut(keys, text, action, group = "On this page") {
  shortcuts.push({ keys, text, action, group });
}

function typing(target) {
  return target.isContentEditable || target.matches("input:not([type=range], [type=checkbox], [type=radio]), textarea, select");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (typing(event.target) || $("dialog[open]")) return;
  if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  if (event.key === " " && event.target.matches("button, a, summary, input")) return;
  const whole = pending ? `${pending} ${event.key}` : event.key;
  pending = "";
  const found = shortcuts.find((each) => each.keys.includes(whole));
  if (found) {
    event.preventDefault();
    found.action(event);
  } else if (shortcuts.some((each) => each.keys.some((keys) => keys.startsWith(`${event.key} `)))) {
    pending = event.key;
    setTimeout(() => (pending = ""), 1200);
  }
});

export function openHelp() {
  const list = $("#help-keys");
  list.replaceChildren();
  for (const group of [...new Set(shortcuts.map((each) => each.group))].sort((a) => (a === "Everywhere" ? 1 : -1))) {
    list.append(h("dt", { class: "group" }, group), h("dd", { hidden: true }));
    for (const { keys, text } of shortcuts.filter((each) => each.group === group)) {
      const shown = keys[0].split(" ").length > 1 ? keys[0].split(" ") : keys.slice(0, 2);
      list.append(h("dt", {}, shown.map((key) => h("kbd", {}, NAMES[key] ?? (key.length === 1 ? key.toUpperCase() : key)))), h("dd", {}, text));
    }
  }
  $("#help").showModal();
}

// Tabs, as ARIA has them: arrows move among them, and only the chosen one is in the order of focus.
import { $, $$ } from "./dom.js";

export function tabs(list, onChange = () => {}) {
  const all = $$("[role=tab]", list);
  const choose = (tab) => {
    for (const each of all) {
      const chosen = each === tab;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
      $(`#${each.getAttribute("aria-controls")}`).hidden = !chosen;
    }
    onChange(tab);
  };
  for (const tab of all) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = all[(all.indexOf(tab) + step + all.length) % all.length];
      next.focus();
      choose(next);
    });
  }
  return { chosen: () => all.find((tab) => tab.getAttribute("aria-selected") === "true"), choose };
}

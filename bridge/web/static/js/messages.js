// Toasts, and the question before something is lost.
import { $, $$, h, icon } from "./dom.js";

const STAY_MS = 6000;

export function toast(title, { text = "", kind = "" } = {}) {
  const close = h("button", { type: "button", class: "button quiet icon-only", "aria-label": "Dismiss" }, icon("x"));
  const shown = h("div", { class: `toast ${kind}`, role: kind === "bad" ? "alert" : "status" }, h("div", { class: "grow" }, h("strong", {}, title), text), close);
  close.addEventListener("click", () => shown.remove());
  for (const older of $$(".toast").slice(0, -2)) older.remove();
  $("#toasts").append(shown);
  if (kind !== "bad") setTimeout(() => shown.remove(), STAY_MS); // errors stay until they are read
  return shown;
}

export function failed(error) {
  if (error?.name === "AbortError") return;
  toast(error.message, { text: error.hint ?? "", kind: "bad" });
}

// Runs an action; what goes wrong becomes a toast, and undefined the answer.
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    failed(error);
    return undefined;
  }
}

export function confirm(title, text, { yes = "Continue", danger = false } = {}) {
  const dialog = $("#confirm");
  $("#confirm-title").textContent = title;
  $("#confirm-text").textContent = text;
  $("#confirm-yes").textContent = yes;
  $("#confirm-yes").classList.toggle("danger", danger);
  dialog.returnValue = "";
  dialog.showModal();
  $("#confirm-yes").focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// A message that outlives the page that it belongs to.
export function toastOnNextPage(title, options) {
  sessionStorage.setItem("toast", JSON.stringify({ title, options }));
}

export function showKeptToast() {
  const kept = sessionStorage.getItem("toast");
  if (!kept) return;
  sessionStorage.removeItem("toast");
  const { title, options } = JSON.parse(kept);
  toast(title, options);
}

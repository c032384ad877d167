// Settings: accounts, which are written and never read, and health.
import { get, post, remove } from "./api.js";
import { $, $$, busy, h } from "./dom.js";
import { attempt, confirm, toastOnNextPage } from "./messages.js";

const kind = $("#kind");
const fillHost = () => ($("#host").value = kind.selectedOptions[0].dataset.host);
kind.addEventListener("change", fillHost);
fillHost();

$("#account-form").addEventListener("submit", (event) => {
  event.preventDefault();
  busy($("#account-save"), () =>
    attempt(async () => {
      await post("/v1/connections", { kind: kind.value, host: $("#host").value.trim(), secret: $("#secret").value });
      $("#secret").value = "";
      toastOnNextPage("The token was stored.", { kind: "good" });
      location.reload();
    }),
  );
});
$("#add-account").addEventListener("close", () => ($("#secret").value = ""));

for (const button of $$("[data-remove]")) {
  button.addEventListener("click", async () => {
    if (!(await confirm(`Forget the token for ${button.dataset.name}?`, "What needs it fails until another one is stored.", { yes: "Forget", danger: true }))) return;
    await attempt(async () => {
      await remove(`/v1/connections/${button.dataset.remove}`);
      location.reload();
    });
  });
}

async function showHealth() {
  let kindOf = "bad";
  let [text, reason] = ["not ready", ""];
  try {
    const found = await get("/readyz");
    [kindOf, text, reason] = [found.status === "ready" ? "good" : "warn", found.status, found.reason];
  } catch (error) {
    reason = `${error.message} ${error.hint ?? ""}`;
  }
  $("#health").replaceChildren(h("span", { class: `badge ${kindOf}` }, text));
  $("#health-reason").textContent = reason ?? "";
  $("#health-reason").hidden = !reason;
}

showHealth();

// The image that a model is tried on: chosen or dropped, and shown in place of where it is dropped.
import { $ } from "./dom.js";
import { failed } from "./messages.js";

// onImage is told a File.
export function tryImage(onImage) {
  const take = (file) => {
    if (!file) return;
    if (!file.type.startsWith("image/")) {
      failed({ message: `${file.name} is not an image.`, hint: "Drop a JPEG, PNG, WebP, BMP or TIFF file." });
      return;
    }
    onImage(file);
  };
  $("#choose").addEventListener("click", () => $("#file").click());
  $("#try-other").addEventListener("click", () => $("#file").click());
  $("#file").addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = "";
  });
  for (const target of [$("#drop"), $("#try-result")]) {
    target.addEventListener("dragover", (event) => {
      event.preventDefault();
      target.classList.add("over");
    });
    target.addEventListener("dragleave", () => target.classList.remove("over"));
    target.addEventListener("drop", (event) => {
      event.preventDefault();
      target.classList.remove("over");
      take(event.dataTransfer.files[0]);
    });
  }
}

export function showResult(shown) {
  $("#drop").hidden = shown;
  $("#try-result").hidden = !shown;
  $("#try-tools").hidden = !shown;
}

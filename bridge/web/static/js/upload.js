// Choosing images, folders and zips, by hand or by drag and drop, and sending them in portions.
import { ApiError, send } from "./api.js";
import { $, h } from "./dom.js";
import { bytes, many, number } from "./format.js";
import { failed } from "./messages.js";

const PORTION_BYTES = 64 * 2 ** 20;
const PORTION_FILES = 200;
const SHOWN = 200;
const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|m2v|ts|mts|m2ts|vob)$/i;
const TAKEN = new RegExp(`\\.(jpe?g|png|webp|bmp|gif|tiff?|zip|jfif|avif)$|${VIDEO.source}`, "i");

export class Upload {
  constructor(root = $("[data-upload]")) {
    this.root = root;
    this.files = []; // { file, name }
    this.passed = this.twice = 0; // files that are none of ours, and those whose name was chosen already
    const part = (name) => $(`[data-${name}]`, root);
    part("choose-files").addEventListener("click", () => part("files").click());
    part("choose-folder").addEventListener("click", () => part("folder").click());
    for (const name of ["files", "folder"]) {
      part(name).addEventListener("change", (event) => {
        this.add([...event.target.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
        event.target.value = "";
      });
    }
    const drop = part("drop");
    drop.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", async (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.add(await dropped(event.dataTransfer));
    });
    part("clear").addEventListener("click", () => {
      this.forget();
    });
  }

  add(found) {
    const wrong = found.filter(({ name }) => !TAKEN.test(name));
    const taken = found.filter(({ name }) => TAKEN.test(name));
    if (wrong.length && !taken.length) failed({ message: `${wrong[0].name} is no image, no zip and no video.`, hint: "Images (JPEG, PNG, WebP, BMP, GIF, TIFF), zips of images and videos are taken." });
    const known = new Set(this.files.map((each) => each.name));
    for (const each of taken) {
      if (known.has(each.name)) this.twice++;
      else this.files.push(each);
      known.add(each.name);
    }
    this.passed += wrong.length;
    this.show();
  }

  forget() {
    this.files = [];
    this.passed = this.twice = 0;
    this.show();
  }

  show() {
    const list = $("[data-list]", this.root);
    $("[data-chosen]", this.root).hidden = !this.files.length;
    const size = this.files.reduce((sum, each) => sum + each.file.size, 0);
    const facts = [`${many(this.files.length, "file")}, ${bytes(size)}`];
    if (this.passed) facts.push(`${many(this.passed, "other file")} passed over`);
    if (this.twice) facts.push(`${number(this.twice)} left out: a file of that name is chosen already`);
    $("[data-summary]", this.root).textContent = facts.join("; ");
    list.replaceChildren(
      ...this.files.slice(0, SHOWN).map((each) => h("li", {}, h("span", {}, each.name), h("span", { class: "faint nowrap number" }, bytes(each.file.size)))),
      ...(this.files.length > SHOWN ? [h("li", {}, h("span", { class: "faint" }, `and ${this.files.length - SHOWN} more`))] : []),
    );
    $("[data-video]", this.root).hidden = !this.files.some((each) => VIDEO.test(each.name));
    this.root.dispatchEvent(new CustomEvent("chosen"));
  }

  // Sends everything to a task. The sums of what the answers say, or throws the first error.
  async sendTo(taskId) {
    const whole = this.files.reduce((sum, each) => sum + each.file.size, 0) || 1;
    const box = $("[data-progress]", this.root);
    const [bar, text] = [$("progress", box), $("[data-progress-text]", box)];
    box.hidden = false;
    const sums = { added: 0, known: 0, rejected: [] };
    const step = Math.max(1, Math.floor(Number($("#video-step").value) || 1));
    let sent = 0;
    try {
      for (const portion of portions(this.files)) {
        const size = portion.reduce((sum, each) => sum + each.file.size, 0);
        const form = new FormData();
        for (const { file, name } of portion) form.append("files", file, name);
        const show = (share) => {
          bar.value = (sent + size * share) / whole;
          text.textContent = share < 1 || sent + size < whole ? `${bytes(sent + size * share)} of ${bytes(whole)}` : "Reading the images";
        };
        show(0);
        try {
          const answer = await send(`/v1/tasks/${taskId}/frames?skip_known=true&step=${step}`, form, { onProgress: show });
          sums.added += answer.added;
          sums.known += answer.known;
          sums.rejected.push(...answer.rejected);
        } catch (error) {
          if (!(error instanceof ApiError) || error.code !== "no_images" || portion.length === this.files.length) throw error;
          sums.rejected.push({ name: portion[0].name, reason: error.hint });
        }
        sent += size;
      }
    } finally {
      box.hidden = true;
    }
    this.forget();
    return sums;
  }
}

function* portions(files) {
  let portion = [];
  let size = 0;
  for (const each of files) {
    if (portion.length && (size + each.file.size > PORTION_BYTES || portion.length >= PORTION_FILES || VIDEO.test(each.name) || VIDEO.test(portion.at(-1).name))) {
      yield portion;
      [portion, size] = [[], 0];
    }
    portion.push(each);
    size += each.file.size;
  }
  if (portion.length) yield portion;
}

// What was dropped, folders with all that is in them.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, name: file.name }));
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, name: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const page = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!page.length) return;
    for (const child of page) await walk(child, found);
  }
}

// What an upload came to, as a message.
export function summary({ added, known, rejected }) {
  const text = known ? `${many(known, "frame")} left out: the task has some of that name. ` : "";
  if (!rejected.length) return { title: `${many(added, "frame")} added.`, options: { kind: added ? "good" : "", text } };
  const names = rejected.slice(0, 4).map((each) => `${each.name}: ${each.reason}`).join(" ");
  return { title: `${many(added, "frame")} added, ${many(rejected.length, "file")} refused.`, options: { kind: "bad", text: text + names } };
}


// Frames' pictures, decoded: the neighbours are there before they are asked for.

const KEPT = 8;
const SHOWABLE = /\.(jpe?g|png|webp|gif|bmp|avif|jfif)$/i;
const WIDEST = 16_384; // what the server makes of other formats

export class Pictures {
  constructor(taskId) {
    this.taskId = taskId;
    this.kept = new Map(); // number -> promise of an image, the latest last
  }

  get({ number, name, width }) {
    const known = this.kept.get(number);
    if (known) {
      this.kept.delete(number);
      this.kept.set(number, known);
      return known;
    }
    const image = new Image();
    const path = `/v1/tasks/${this.taskId}/frames/${number}/image`;
    image.src = SHOWABLE.test(name) ? path : `${path}?width=${Math.min(width, WIDEST)}`;
    const decoded = image.decode().then(() => image);
    decoded.catch(() => this.kept.delete(number));
    this.kept.set(number, decoded);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return decoded;
  }

  ahead(numbers, last) {
    for (const number of numbers) {
      // Names are not known yet; a file that no browser shows is asked for anew when it is looked at.
      if (number >= 0 && number <= last) this.get({ number, name: ".jpg", width: 0 });
    }
  }
}

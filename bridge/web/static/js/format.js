// Numbers, sizes and times for people.

export const number = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");
export const many = (count, one, several = `${one}s`) => `${number(count)} ${count === 1 ? one : several}`;
export const percent = (part, whole) => (whole ? `${Math.floor((100 * part) / whole)} %` : "0 %");
export const score = (value) => value.toFixed(2);

export function bytes(count) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${(count / size).toFixed(count < 100 * size ? 1 : 0)} ${unit}`;
  }
  return `${count} B`;
}

export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function ago(date, now = Date.now()) {
  const seconds = (date.getTime() - now) / 1000;
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) {
      return Math.abs(seconds) > 7 * 86400 ? date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" }) : RELATIVE.format(Math.round(seconds / size), unit);
    }
  }
  return "just now";
}

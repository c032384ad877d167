// Charts that are drawn as SVG and read as text by those who do not see them.
import { h, s, swatch } from "./dom.js";
import { many, number } from "./format.js";

// Shapes per label, as bars. counts: [[label, count]], most first.
export function labelBars(counts, colors, { most = 12 } = {}) {
  if (!counts.length) return h("p", { class: "faint small" }, "No shape yet.");
  const top = Math.max(...counts.map((entry) => entry[1]));
  const shown = counts.slice(0, most);
  const rest = counts.slice(most);
  const bars = shown.flatMap(([label, count]) => [
    h("span", { class: "name", title: label }, swatch(colors[label]), h("span", {}, label)),
    s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { x: 0, y: 1, height: 8, width: Math.max(0.6, (100 * count) / top), rx: 1, fill: colors[label] || "#888888" })),
    h("span", { class: "count" }, number(count)),
  ]);
  return h("div", { class: "stack tight" }, h("div", { class: "bars", role: "group", "aria-label": "Shapes per label" }, bars),
    rest.length > 0 && h("span", { class: "faint small" }, `and ${many(rest.length, "label")} with ${number(rest.reduce((sum, entry) => sum + entry[1], 0))}`));
}

// Scores from 0 to 1 in bins of equal width, with the threshold as a line. Heights grow with the square root of the
// counts: what a model is unsure of is so much more that nothing else could be seen beside it.
export function histogram(bins, { threshold = null, name = "Shapes by score" } = {}) {
  const [width, height, floor] = [320, 128, 104];
  const top = Math.max(1, ...bins);
  const step = width / bins.length;
  const chart = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name}: ${summary(bins)}` });
  bins.forEach((count, at) => {
    const size = count ? Math.max(2, Math.sqrt(count / top) * 88) : 0;
    const below = threshold !== null && (at + 1) / bins.length <= threshold + 1e-9;
    chart.append(s("rect", { class: below ? "bar below" : "bar", x: at * step + 1, y: floor - size, width: step - 2, height: size, rx: 1.5 }, s("title", {}, `${(at / bins.length).toFixed(2)} to ${((at + 1) / bins.length).toFixed(2)}: ${number(count)}`)));
  });
  chart.append(s("line", { class: "axis", x1: 0, x2: width, y1: floor + 0.5, y2: floor + 0.5 }));
  for (const mark of [0, 0.25, 0.5, 0.75, 1]) {
    chart.append(s("text", { x: mark * width, y: floor + 16, "text-anchor": mark === 0 ? "start" : mark === 1 ? "end" : "middle" }, String(mark)));
  }
  if (threshold !== null) {
    const x = threshold * width;
    chart.append(s("line", { class: "cut", x1: x, x2: x, y1: 6, y2: floor }));
  }
  return chart;
}

function summary(bins) {
  const whole = bins.reduce((sum, count) => sum + count, 0);
  if (!whole) return "none";
  const best = bins.indexOf(Math.max(...bins));
  return `${number(whole)}, most of them from ${(best / bins.length).toFixed(2)} to ${((best + 1) / bins.length).toFixed(2)}`;
}

// How many of a whole, as a bar in two colours.
export function coverage(annotated, frames) {
  return h("div", { class: "stack tight" },
    h("progress", { class: "good", max: Math.max(1, frames), value: annotated, "aria-label": "Frames with shapes" }),
    h("span", { class: "small faint number" }, frames ? `${number(annotated)} of ${many(frames, "frame")} with shapes, ${number(frames - annotated)} without` : "No frames"));
}

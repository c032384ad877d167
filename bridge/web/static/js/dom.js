// Small helpers around the DOM. Text only ever becomes text, never markup.

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

const SVG = "http://www.w3.org/2000/svg";

// h("button", { class: "button", onclick }, "Text", child): attributes, listeners (on...), and properties (.name).
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith(".")) element[name.slice(1)] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function icon(name) {
  return s("svg", { class: "icon", "aria-hidden": "true", focusable: "false" }, s("use", { href: `#i-${name}` }));
}

export function swatch(color) {
  return s("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" }, s("rect", { width: 10, height: 10, rx: 2.5, fill: color || "#888888" }));
}

// What the page's template has handed over.
export const props = () => JSON.parse($("#main").dataset.props ?? "{}");

export function debounce(action, milliseconds) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), milliseconds);
  };
}

// Runs an action while its button shows that it waits and takes no second click.
export async function busy(button, action) {
  if (button.getAttribute("aria-busy") === "true") return undefined;
  for (const error of $$(".toast.bad")) error.remove(); // what is tried again is no longer wrong
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  try {
    return await action();
  } finally {
    button.removeAttribute("aria-busy");
    button.disabled = false;
  }
}

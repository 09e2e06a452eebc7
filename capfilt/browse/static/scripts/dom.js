// Elements and words. Texts and URLs come from strangers: they only ever become text nodes, never markup.

// An element with properties, data-* attributes under `data`, and children; what is null is left out.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  const { data = {}, ...rest } = properties;
  Object.assign(made.dataset, data);
  for (const [key, value] of Object.entries(rest)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child != null));
  return made;
}

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

// Control characters, and those that turn the direction of writing; a text could show other words with them than it has.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]/g;

// A stranger's text as nodes: what cannot be seen stands there as an escape such as \u202e.
export function words(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    const code = `\\u${match[0].charCodeAt(0).toString(16).padStart(4, "0")}`;
    nodes.push(text.slice(end, match.index), element("span", { className: "unseen" }, code));
    end = match.index + 1;
  }
  return [...nodes, text.slice(end)];
}

const whole = new Intl.NumberFormat("en");
export const count = (number) => whole.format(number);
export const change = (number) => (number > 0 ? `+${count(number)}` : number < 0 ? `−${count(-number)}` : "0");
export const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;

// A score in four digits: 0.9321, 8.6e-5.
export function score(value) {
  if (value == null) return "–";
  if (Math.abs(value) > 1e300) return value > 0 ? "∞" : "−∞";
  return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}

let silence;

// A line that tells what went wrong, for a while.
export function complain(error) {
  const place = find("#trouble");
  place.textContent = error.message;
  place.hidden = false;
  clearTimeout(silence);
  silence = setTimeout(() => (place.hidden = true), 8000);
}

export function say(text) {
  find("#said").textContent = text;
}

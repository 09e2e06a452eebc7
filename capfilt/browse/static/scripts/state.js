// What is looked at. It stands in the page's address, so that going back and a second window work as everywhere.

const DEFAULTS = { judge: "", t: "", state: "", source: "", reason: "", low: "", high: "", q: "", mark: "", sort: "run", page: "0", view: "" };

// The run as the server told it, and what is looked at; all values of `look` are strings as in the address.
export const run = {};
export const look = { ...DEFAULTS };

export function readAddress() {
  const given = new URLSearchParams(location.search);
  for (const key of Object.keys(DEFAULTS)) look[key] = given.get(key) ?? DEFAULTS[key];
}

// Change what is looked at; a new entry of the history unless `quiet`.
export function turn(changes, quiet = false) {
  Object.assign(look, changes);
  const kept = Object.entries(look).filter(([key, value]) => value !== DEFAULTS[key]);
  const address = kept.length ? `?${new URLSearchParams(kept)}` : location.pathname;
  history[quiet ? "replaceState" : "pushState"](null, "", address);
}

// The filter as the server wants it.
export function filter() {
  const { page, view, ...wanted } = look;
  return { ...wanted, judge: judge() };
}

export const judge = () => look.judge || run.judge;
export const threshold = () => (look.t === "" ? null : Number(look.t));

// Whether a text is kept: by the threshold, or else by the selection (null: it decided nothing about it).
export function isKept(text) {
  const least = threshold();
  if (least === null) return text.keep;
  const value = text.scores[judge()];
  return text.decidable && value != null && value >= least;
}

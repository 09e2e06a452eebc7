// The filters: a form that says what is looked at.

import { count, element, find } from "./dom.js";
import { look, run, turn } from "./state.js";

const FIELDS = ["q", "state", "source", "low", "high", "mark"];
const PATIENCE = 300; // milliseconds without a key before a search

// `load()` is called when something else is looked at.
export function prepareFilters(load) {
  const form = find("#filter");
  const change = (changes) => {
    turn({ ...changes, page: "0" });
    load();
  };
  const field = (name) => form.elements[name];
  field("source").append(...Object.keys(run.texts).map((source) => element("option", { value: source }, source)));
  let waiting;
  field("q").oninput = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => change({ q: field("q").value }), PATIENCE);
  };
  for (const name of ["state", "source", "mark"]) field(name).onchange = () => change({ [name]: field(name).value });
  for (const name of ["low", "high"]) field(name).onchange = () => change({ [name]: number(field(name)) });
  field("reason").onchange = () => {
    const [view, ...reason] = field("reason").value.split(":");
    change({ view, reason: reason.join(":") });
  };
  find("#sort").onchange = () => change({ sort: find("#sort").value });
  find("#clear").onclick = () => change({ ...Object.fromEntries(FIELDS.map((name) => [name, ""])), reason: "", view: "" });
  form.onsubmit = (event) => event.preventDefault();
}

// What was typed, if it is a number.
function number(field) {
  const text = field.value.trim().replace(",", ".");
  const wrong = text !== "" && !Number.isFinite(Number(text));
  field.setAttribute("aria-invalid", String(wrong));
  return wrong ? "" : text;
}

// Show in the form what is looked at.
export function drawFilters() {
  const form = find("#filter");
  const reasons = form.elements.reason;
  reasons.replaceChildren(
    element("option", { value: ":" }, "any reason"),
    group("kept or dropped because", "", run.reasons),
    group("did not become an image", "failures", run.failures),
  );
  for (const name of FIELDS) if (form.elements[name] !== document.activeElement) form.elements[name].value = look[name];
  reasons.value = `${look.view}:${look.reason}`;
  find("#sort").value = look.sort;
  const failures = look.view === "failures";
  for (const name of FIELDS) form.elements[name].disabled = failures;
  find("#sort").disabled = failures;
  const active = FIELDS.filter((name) => look[name] !== "").length + (look.view || look.reason ? 1 : 0);
  find("#active").textContent = active ? count(active) : "";
  find("#clear").disabled = !active;
}

function group(label, view, reasons) {
  const all = view ? [element("option", { value: `${view}:` }, `any failure (${count(reasons.reduce((sum, some) => sum + some.n, 0))})`)] : [];
  const options = reasons.map(({ reason, n }) => element("option", { value: `${view}:${reason}` }, `${reason} (${count(n)})`));
  return reasons.length ? element("optgroup", { label }, ...all, ...options) : null;
}

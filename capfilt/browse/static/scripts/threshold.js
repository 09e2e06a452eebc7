// The threshold: a histogram, the slider under it, what it keeps of the whole run, and how to make that a selection.

import { get, post } from "./api.js";
import { change, complain, count, element, find, plural, score } from "./dom.js";
import { judge, look, run, threshold, turn } from "./state.js";

const BARS = 100;
const SOURCES = ["web", "human", "synthetic"];
let numbers; // of the judge: thresholds, texts kept by source, images with a kept text

// How far a change reaches: to the colours alone, to what the filter lets through, or to what the server knows.
export const COLOURS = 0;
export const FILTER = 1;
export const ALL = 2;

// Ask for the judge's numbers and draw everything; `moved(reach)` is called whenever the threshold changes.
export async function prepareThreshold(moved) {
  find("#judge").replaceChildren(...run.judges.map((name) => element("option", { value: name }, name)));
  find("#threshold").hidden = !run.judges.length;
  find("#slider").oninput = () => move(numbers.thresholds[find("#slider").value], moved, COLOURS);
  find("#slider").onchange = () => moved(FILTER);
  find("#exact").onchange = () => moveExactly(find("#exact").value, moved);
  find("#judge").onchange = () => {
    turn({ judge: find("#judge").value, t: "", page: "0" });
    loadNumbers().then(() => moved(ALL), complain);
  };
  find("#reset").onclick = () => {
    turn({ t: "" });
    drawThreshold();
    moved(FILTER);
  };
  find("#apply").onsubmit = (event) => {
    event.preventDefault();
    apply(moved);
  };
  await loadNumbers();
}

// The numbers of the judge that is looked at; without a selection there must be a threshold to decide by.
export async function loadNumbers() {
  if (!run.judges.length) return;
  numbers = await get("numbers", { judge: judge() });
  if (!run.selection && look.t === "") turn({ t: String(run.threshold) }, true);
  if (threshold() !== null) await include(threshold());
  if (judge() === run.judge) await include(run.threshold);
  drawThreshold();
}

// Make a threshold one of the slider's places.
async function include(value) {
  if (numbers.thresholds.includes(value)) return;
  const one = await get("numbers", { judge: judge(), t: value });
  const at = numbers.thresholds.findIndex((other) => other > value);
  const place = at < 0 ? numbers.thresholds.length : at;
  numbers.thresholds.splice(place, 0, value);
  numbers.images.splice(place, 0, one.images[0]);
  for (const [source, kept] of Object.entries(numbers.kept)) kept.splice(place, 0, one.kept[source][0]);
}

function move(value, moved, reach) {
  turn({ t: String(value) }, true);
  drawThreshold();
  moved(reach);
}

async function moveExactly(text, moved) {
  const value = Number(text.trim().replace(",", "."));
  if (!text.trim() || !Number.isFinite(value)) return drawThreshold();
  try {
    await include(value);
    move(value, moved, FILTER);
  } catch (error) {
    complain(error);
  }
}

async function apply(moved) {
  const button = find("#apply button");
  const [name, value] = [find("#name").value.trim(), shownThreshold()];
  if (run.names.includes(name) && !confirm(`A selection “${name}” exists. Replace it?`)) return;
  button.disabled = true;
  find("#applied").textContent = "writing …";
  try {
    const made = await post("selections", { name, judge: judge(), threshold: value });
    const texts = Object.values(made.kept).reduce((sum, some) => sum + some, 0);
    Object.assign(run, await get("run"));
    turn({ t: "" });
    await loadNumbers();
    moved(ALL);
    find("#applied").textContent = `“${run.selection.name}” keeps ${plural(texts, "text", "texts")} of ${plural(made.images, "image", "images")}. It is now the current selection.`;
  } catch (error) {
    find("#applied").textContent = "";
    complain(error);
  } finally {
    button.disabled = false;
  }
}

// Where the slider stands while the selection decides: at its own threshold, if it has one of this judge.
const shownThreshold = () => threshold() ?? (judge() === run.judge ? run.threshold : numbers.thresholds[Math.floor(numbers.thresholds.length / 2)]);

export function drawThreshold() {
  if (!numbers) return;
  const value = shownThreshold();
  const place = Math.max(0, numbers.thresholds.findLastIndex((other) => other <= value));
  const slider = find("#slider");
  slider.max = numbers.thresholds.length - 1;
  slider.value = place;
  find("#judge").value = judge();
  if (document.activeElement !== find("#exact") || look.t !== "") find("#exact").value = String(numbers.thresholds[place]);
  drawNumbers(place);
  drawHistogram(value);
  const live = threshold() !== null;
  slider.setAttribute("aria-valuetext", `${judge()} at least ${score(numbers.thresholds[place])}`);
  find("#basis span").textContent = live ? "By this threshold." : `As selected${named()}.${run.current ? "" : " The selection is out of date, because other chunks are committed: save a new one."}`;
  find("#reset").hidden = !run.selection || !live;
}

const named = () => (run.selection ? ` (${[run.selection.name, `policy ${run.selection.policy}`].filter(Boolean).join(", ")})` : "");

// Columns: the sources, and images; rows: what is kept, dropped, and what that changes.
function drawNumbers(place) {
  const live = threshold() !== null;
  const columns = SOURCES.filter((source) => source in run.texts).map((source) => {
    const kept = live ? numbers.kept[source]?.[place] ?? 0 : run.kept[source];
    return { name: source, kept, all: run.texts[source], before: run.kept[source] };
  });
  columns.push({ name: "images", kept: live ? numbers.images[place] : run.kept_images, all: run.images, before: run.kept_images });
  const rows = [
    numberRow("kept", columns, ({ kept }) => count(kept)),
    numberRow("dropped", columns, ({ kept, all }) => count(all - kept)),
    run.selection ? numberRow("change", columns, ({ kept, before }) => change(kept - before)) : null,
  ];
  const heads = ["", ...columns.map(({ name }) => name)].map((name) => element("th", { scope: "col" }, name));
  find("#numbers thead").replaceChildren(element("tr", {}, heads));
  find("#numbers tbody").replaceChildren(...rows.filter(Boolean));
}

function numberRow(name, columns, say) {
  const cells = columns.map((column) => element("td", { data: { of: column.name } }, say(column)));
  return element("tr", { className: `of-${name}` }, element("th", { scope: "row" }, name), cells);
}

// Texts by score; square roots, because scores crowd at the ends and the middle is where the threshold is.
function drawHistogram(value) {
  const { thresholds, kept } = numbers;
  const low = thresholds[0];
  const span = thresholds[thresholds.length - 1] - low || 1;
  const sources = Object.keys(kept);
  const bars = Array.from({ length: BARS }, () => Object.fromEntries(sources.map((source) => [source, 0])));
  for (let place = 0; place < thresholds.length; place++) {
    const bar = Math.min(BARS - 1, Math.floor(((thresholds[place] - low) / span) * BARS + 1e-9));
    for (const source of sources) bars[bar][source] += kept[source][place] - (kept[source][place + 1] ?? 0);
  }
  const heights = bars.map((bar) => Math.sqrt(sources.reduce((sum, source) => sum + bar[source], 0)));
  const top = Math.max(...heights, 1);
  const shapes = bars.flatMap((bar, index) => barOf(bar, index, (heights[index] / top) * 58, low + (index / BARS) * span < value - 1e-9));
  const x = ((value - low) / span) * BARS;
  find("#histogram").setAttribute("viewBox", `0 0 ${BARS} 60`);
  find("#histogram").replaceChildren(...shapes, svg("line", { class: "cut", x1: x, x2: x, y1: 0, y2: 60 }));
}

function barOf(bar, index, height, dropped) {
  const total = Object.values(bar).reduce((sum, some) => sum + some, 0);
  let bottom = 60;
  return Object.entries(bar).map(([source, some]) => {
    const part = total ? (some / total) * height : 0;
    bottom -= part;
    return svg("rect", { class: `${source} ${dropped ? "dropped" : "kept"}`, x: index + 0.08, y: bottom, width: 0.84, height: part });
  });
}

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

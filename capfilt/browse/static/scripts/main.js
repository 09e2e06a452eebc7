// The page: what is asked when, and which key does what.

import { get } from "./api.js";
import { openCloser } from "./closer.js";
import { complain, element, find, findAll, plural, words } from "./dom.js";
import { drawFilters, prepareFilters } from "./filters.js";
import { reachable, recolour, showPage, texts } from "./grid.js";
import { drawMarks, loadMarks, mark, undo } from "./marks.js";
import { drawPagers } from "./pager.js";
import { look, readAddress, run, turn } from "./state.js";
import { ALL, COLOURS, FILTER, loadNumbers, prepareThreshold } from "./threshold.js";

let pages = 1;

async function start() {
  Object.assign(run, await get("run"));
  readAddress();
  drawRun();
  const wide = matchMedia("(min-width: 60rem)").matches;
  for (const id of ["choose", "filters", "marks", "keys"]) find(`#${id}`).open = wide;
  prepareFilters(load);
  await prepareThreshold(moved);
  await Promise.all([load(), loadMarks()]);
}

function drawRun() {
  const sum = (numbers) => numbers.reduce((total, some) => total + some, 0);
  const [all, failed] = [sum(Object.values(run.texts)), sum(run.failures.map((reason) => reason.n))];
  find("#where").replaceChildren(element("bdi", {}, ...words(run.location)));
  document.title = `${run.location.split("/").filter(Boolean).pop() ?? "run"} – capfilt browse`;
  const parts = [plural(run.images, "image", "images"), plural(all, "text", "texts"), plural(failed, "failure", "failures")];
  find("#sums").textContent = parts.join(" · ");
}

// Show what is looked at: the page of the grid, and the filters as they are.
async function load() {
  drawFilters();
  try {
    const found = await showPage();
    if (found === null) return;
    pages = found;
    drawPagers(pages, open);
  } catch (error) {
    complain(error);
  }
}

// After the threshold changed: colours at once, and what else depends on it.
function moved(reach) {
  recolour();
  drawMarks();
  const depends = look.state || look.sort === "near";
  if (reach === COLOURS || (reach === FILTER && !depends)) return;
  turn(reach === ALL && !look.view ? { page: "0", reason: "" } : { page: "0" }, true); // reasons name the threshold
  load();
  if (reach === ALL) loadMarks().catch(complain);
}

// Open a page, from 0, if there is one; then the first text has the focus if `focused`.
async function open(page, focused = false) {
  if (page < 0 || page >= pages) return;
  turn({ page: String(page) });
  await load();
  scrollTo({ top: 0 });
  if (focused) focusOn(find("#grid .text"));
}

function focusOn(item) {
  if (!item) return;
  reachable(item);
  item.focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest" });
}

// Where the keys work: in the picture that is open alone, or else in the grid.
const scope = () => (find("#closer").open ? find("#closer") : find("#grid"));

const current = () => document.activeElement.closest(".text");

function step(by) {
  const all = findAll(".text", scope());
  const here = all.indexOf(current());
  const next = here < 0 ? find(".text[tabindex='0']", scope()) ?? all[0] : all[here + by];
  if (next) focusOn(next);
  else if (scope().id === "grid" && by > 0) open(Number(look.page) + 1, true);
}

function stepImage(by) {
  const card = current()?.closest(".card");
  const all = findAll(".card", scope());
  if (!card) return step(by);
  const next = all[all.indexOf(card) + by];
  if (next) focusOn(find(".text", next));
  else open(Number(look.page) + by, true);
}

async function markHere(right) {
  const item = current();
  if (!item) return;
  await mark(item, right);
  if (current() === item) step(1);
}

async function undoLast() {
  const key = await undo();
  if (key) focusOn(findAll(".text", scope()).find((item) => item.dataset.key === key));
}

// Show the image of an element alone; the focus is on the same text there.
async function lookCloser(item) {
  const card = item.closest(".card");
  if (!card) return;
  const key = item.closest(".text")?.dataset.key;
  try {
    await openCloser(Number(card.dataset.place));
  } catch (error) {
    complain(error);
    return;
  }
  const all = findAll("#closer .text");
  focusOn(all.find((text) => text.dataset.key === key) ?? all[0]);
}

const KEYS = {
  j: () => step(1),
  ArrowDown: () => step(1),
  k: () => step(-1),
  ArrowUp: () => step(-1),
  ArrowRight: () => stepImage(1),
  ArrowLeft: () => stepImage(-1),
  r: () => markHere(true),
  w: () => markHere(false),
  u: undoLast,
  n: () => open(Number(look.page) + 1, true),
  p: () => open(Number(look.page) - 1, true),
  "/": () => {
    find("#filters").open = true;
    find("#q").focus();
  },
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "Enter" && event.target.matches(".text")) return lookCloser(event.target);
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

addEventListener("focusin", (event) => {
  const item = event.target.closest(".text");
  if (item) reachable(item);
});

addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const item = event.target.closest(".text");
  if (button?.matches(".mark")) {
    const right = button.dataset.right === "true";
    mark(item, texts.get(item).right === right ? null : right);
  } else if (button?.matches(".picture, .more")) lookCloser(button);
});

addEventListener("popstate", () => {
  readAddress();
  loadNumbers().then(load, complain);
});

start().catch(complain);

// The images of one page with their texts, or the rows that did not become an image.

import { get, picture } from "./api.js";
import { count, element, find, findAll, plural, score, words } from "./dom.js";
import { filter, isKept, judge, look, run } from "./state.js";

export const texts = new WeakMap(); // element of a text -> what the server told of it

let latest = 0;

// Ask for the page that is looked at and show it; gives the number of pages, or null where a later call came first.
export async function showPage() {
  const grid = find("#grid");
  const mine = ++latest;
  grid.setAttribute("aria-busy", "true");
  try {
    const failures = look.view === "failures";
    const page = failures ? await get("failures", { reason: look.reason, page: look.page }) : await get("images", { ...filter(), page: look.page });
    if (mine !== latest) return null;
    const items = failures ? page.failures.map(failure) : page.images.map(card);
    grid.className = failures ? "failures" : "cards";
    grid.replaceChildren(...(items.length ? items : [element("li", { className: "empty" }, "Nothing here passes these filters.")]));
    recolour();
    const first = find(".text", grid);
    if (first) reachable(first);
    drawCount(page, failures);
    return Math.max(1, Math.ceil(page.total / page.size));
  } finally {
    if (mine === latest) grid.removeAttribute("aria-busy");
  }
}

// Make one text, with its buttons, the one that the Tab key reaches; among the others the arrows move.
export function reachable(item) {
  for (const other of findAll(".text[tabindex='0']")) {
    for (const part of [other, ...findAll(".mark", other)]) part.tabIndex = -1;
  }
  for (const part of [item, ...findAll(".mark", item)]) part.tabIndex = 0;
}

function drawCount(page, failures) {
  const from = page.page * page.size + 1;
  const to = Math.min(page.total, from + page.size - 1);
  const what = failures ? plural(page.total, "failure", "failures") : plural(page.total, "image", "images");
  find("#count").textContent = page.total > page.size ? `${count(from)}–${count(to)} of ${what}` : what;
}

function card(image) {
  const shape = { width: image.width, height: image.height };
  const alt = `image ${image.place + 1}, ${image.width} × ${image.height} pixels`;
  const shown = element("img", { src: picture(image.place, 320), alt, loading: "lazy", decoding: "async", ...shape });
  shown.onerror = () => shown.replaceWith(element("span", { className: "broken" }, "no image"));
  return element(
    "li",
    { className: "card", data: { place: image.place } },
    element("button", { className: "picture", type: "button", tabIndex: -1, title: "enlarge" }, shown),
    textList(image),
    image.more ? element("button", { className: "more", type: "button" }, `${plural(image.more, "more text", "more texts")} …`) : null,
  );
}

// The texts of an image as a list; also for one image alone.
export function textList(image) {
  return element("ul", { className: "texts" }, image.texts.map((text) => textItem(text, image)));
}

function textItem(text, image) {
  const cut = text.length > [...text.text].length ? element("span", { className: "cut" }, ` … ${count(text.length)} characters`) : null;
  const shown = text.text.trim() ? words(text.text) : [element("span", { className: "unseen" }, "no words")];
  const item = element(
    "li",
    { className: text.hit ? "text" : "text beside", tabIndex: -1, data: { key: `${image.uid} ${text.candidate}` } },
    element("p", { className: "words" }, element("bdi", { dir: "auto" }, ...shown), cut),
    element("p", { className: "facts" }, element("span", { className: "state" }), element("span", { title: text.captioner ?? "" }, text.source), scores(text), notes(text)),
    marking(),
  );
  texts.set(item, { ...text, uid: image.uid, place: image.place });
  return item;
}

function scores(text) {
  return run.judges.map((name) => element("span", { className: "score", data: { judge: name } }, `${name} ${score(text.scores[name])}`));
}

// Flags, and why the selection decided as it did; of a threshold alone the scores tell that already.
function notes(text) {
  const flags = text.flags.map((flag) => `flag: ${flag}`);
  const reason = text.reason && (run.selection?.policy !== "blip" || !text.decidable) && !flags.includes(text.reason) ? [text.reason] : [];
  return [...flags, ...reason].map((note) => element("span", { className: "note" }, ...words(note)));
}

function marking() {
  const button = (right, sign, name) => element("button", { type: "button", tabIndex: -1, className: "mark", data: { right }, title: name, "aria-label": name, "aria-pressed": "false" }, sign);
  return element("span", { className: "marking" }, button("true", "✓", "right"), button("false", "✗", "wrong"));
}

// Show of every text on the page whether it is kept, and how it is marked.
export function recolour() {
  for (const item of findAll(".text")) {
    const text = texts.get(item);
    const kept = isKept(text);
    item.classList.toggle("kept", kept === true);
    item.classList.toggle("dropped", kept === false);
    find(".state", item).textContent = kept == null ? "undecided" : kept ? "kept" : "dropped";
    for (const shown of findAll(".score", item)) shown.classList.toggle("decides", shown.dataset.judge === judge());
    for (const button of findAll(".mark", item)) button.setAttribute("aria-pressed", String(String(text.right) === button.dataset.right));
    item.classList.toggle("right", text.right === true);
    item.classList.toggle("wrong", text.right === false);
  }
}

function failure(row) {
  return element(
    "li",
    { className: "failure" },
    element("p", { className: "words" }, element("bdi", { dir: "auto" }, ...words(row.url || row.source))),
    element("p", { className: "facts" }, element("span", { className: "state" }, row.reason), element("span", {}, row.stage), element("span", { className: "note" }, ...words(row.detail || ""))),
  );
}

// Marks: what a person says of a text. Each is written at once; the numbers say how the threshold agrees with them.

import { get, post } from "./api.js";
import { complain, count, element, find, findAll, say } from "./dom.js";
import { recolour, texts } from "./grid.js";
import { isKept } from "./state.js";

const done = []; // what `undo` takes back: key, and the mark before
const marks = new Map(); // key -> text with its mark

const keyOf = (text) => `${text.place} ${text.candidate}`;

export async function loadMarks() {
  marks.clear();
  for (const text of await get("marks")) marks.set(keyOf(text), text);
  drawMarks();
}

// Mark the text of an element right (true), wrong (false) or not at all (null).
export async function mark(item, right) {
  const text = texts.get(item);
  const before = text.right;
  if (await write(text, right)) done.push({ text, before });
}

// Take the last mark back; gives the key of its text, for which the page may have an element.
export async function undo() {
  const last = done.pop();
  if (!last) return null;
  if (!(await write(last.text, last.before))) done.push(last);
  return keyOfElement(last.text);
}

const keyOfElement = (text) => `${text.uid} ${text.candidate}`;

async function write(text, right) {
  try {
    await post("marks", { uid: text.uid, candidate: text.candidate, right });
  } catch (error) {
    complain(error);
    return false;
  }
  for (const item of findAll(".text")) {
    if (item.dataset.key === keyOfElement(text)) texts.get(item).right = right;
  }
  if (right === null) marks.delete(keyOf(text));
  else marks.set(keyOf(text), { ...text, right });
  recolour();
  drawMarks();
  say(right === null ? "mark removed" : right ? "marked right" : "marked wrong");
  return true;
}

// How the marks stand to what is kept.
export function drawMarks() {
  const all = [...marks.values()];
  const of = (right) => all.filter((text) => text.right === right);
  const rows = [["right", of(true)], ["wrong", of(false)]].map(([name, some]) => {
    const kept = some.filter((text) => isKept(text) === true).length;
    return element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, `${count(kept)} kept`), element("td", {}, `${count(some.length - kept)} dropped`));
  });
  find("#judged tbody").replaceChildren(...rows);
  find("#marked").textContent = all.length ? count(all.length) : "";
  find("#judged").hidden = !all.length;
  find("#marks").dataset.count = all.length;
}

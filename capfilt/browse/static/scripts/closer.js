// One image alone: the picture large, and all texts with all that is known of them.

import { get, picture } from "./api.js";
import { element, find, score, words } from "./dom.js";
import { recolour, textList } from "./grid.js";
import { filter } from "./state.js";

// What an image judge says, in words.
function fact(value) {
  if (Array.isArray(value)) return value.join(", ") || "–";
  return typeof value === "number" ? score(value) : String(value ?? "–");
}

// Open the image at a place.
export async function openCloser(place) {
  const image = await get("image", { ...filter(), place });
  const box = find("#closer");
  const shape = { width: image.width, height: image.height };
  const facts = [
    ["size", `${image.width} × ${image.height}, ${image.format}`],
    ["uid", image.uid],
    ["url", image.url],
    ...Object.entries(image.facts).map(([name, value]) => [name, fact(value)]),
  ].filter(([, value]) => value);
  box.replaceChildren(
    element("button", { type: "button", className: "close", "aria-label": "close", onclick: () => box.close() }, "×"),
    element("h2", { id: "closer-head", className: "hidden" }, `Image ${place + 1}`),
    element("img", { src: picture(place, 1280), alt: `image ${place + 1}`, ...shape }),
    element(
      "div",
      { className: "about" },
      textList(image),
      element("dl", {}, facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, element("bdi", {}, ...words(value)))))),
    ),
  );
  recolour();
  if (!box.open) box.showModal();
}

// Back, forward, and any page by its number.

import { count, element, findAll } from "./dom.js";
import { look } from "./state.js";

// Draw both pagers; `open(page)` is called with a page from 0.
export function drawPagers(pages, open) {
  for (const place of findAll(".pager")) place.replaceChildren(...(pages > 1 ? parts(pages, open) : []));
}

function parts(pages, open) {
  const page = Number(look.page);
  const button = (sign, name, to) => element("button", { type: "button", "aria-label": name, title: name, disabled: to < 0 || to >= pages, onclick: () => open(to) }, sign);
  const field = element("input", { value: String(page + 1), inputMode: "numeric", size: String(pages).length + 1, "aria-label": "page" });
  field.onchange = () => {
    const wanted = Number(field.value);
    if (Number.isInteger(wanted) && wanted >= 1 && wanted <= pages) open(wanted - 1);
    else field.value = String(page + 1);
  };
  return [button("‹", "previous page", page - 1), field, element("span", {}, `of ${count(pages)}`), button("›", "next page", page + 1)];
}

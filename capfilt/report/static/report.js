"use strict";
// Shows those examples that the filters above them ask for.
(() => {
  const form = document.querySelector(".filters");
  if (!form) return;
  const cards = [...document.querySelectorAll(".card")];
  const wanted = (card, name, value) =>
    value === "" || (name === "view" ? card.dataset.view.split(" ").includes(value) : card.dataset[name] === value);
  const show = () => {
    const asked = [...new FormData(form)];
    for (const card of cards) card.hidden = !asked.every(([name, value]) => wanted(card, name, value));
    const shown = cards.filter((card) => !card.hidden).length;
    form.querySelector("output").textContent = `${shown} of ${cards.length} shown`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();

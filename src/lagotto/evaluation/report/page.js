"use strict";

// The page is whole without this script. It follows the browser's language, makes choosers of the folded tables, and
// filters the queries. What the reader chose is kept in the address's fragment, so a link shows the same.

const state = new URLSearchParams(location.hash.slice(1));

function remember(name, value) {
  if (value) state.set(name, value);
  else state.delete(name);
  history.replaceState(null, "", "#" + state);
}

function translate(language) {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const item of document.querySelectorAll("[data-zh]")) item.textContent = item.dataset[language];
}

function startLanguage() {
  const wanted = state.get("lang") || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
  const language = wanted === "zh" ? "zh" : "en";
  for (const button of document.querySelectorAll("[name=language]")) {
    button.checked = button.id === language;
    button.addEventListener("change", () => {
      translate(button.id);
      remember("lang", button.id);
    });
  }
  translate(language);
}

function startChoosers() {
  for (const box of document.querySelectorAll(".choices")) {
    const chooser = box.querySelector("select");
    const folds = [...box.querySelectorAll(":scope > details")];
    const show = () => folds.forEach((fold, place) => {
      fold.open = place === chooser.selectedIndex;
      fold.hidden = !fold.open;
    });
    const kept = Number(state.get(box.dataset.name));
    chooser.selectedIndex = kept > 0 && kept < folds.length ? kept : 0;
    chooser.addEventListener("change", () => {
      remember(box.dataset.name, chooser.selectedIndex ? chooser.value : "");
      show();
    });
    chooser.parentElement.hidden = false;
    box.classList.add("chosen");
    show();
  }
}

function startFilter() {
  const form = document.getElementById("filter");
  if (!form) return;
  const fields = Object.fromEntries(
    ["dataset", "winner", "text"].map((name) => [name, document.getElementById("filter-" + name)]));
  const queries = [...document.querySelectorAll(".example")].map((item) => ({
    item,
    dataset: item.dataset.dataset,
    winners: item.dataset.winners.split(" "),
    text: [...item.querySelectorAll(".query, .text, bdi")].map((part) => part.textContent).join("\n").toLowerCase(),
  }));

  const show = () => {
    const words = fields.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const query of queries) {
      const fits = (!fields.dataset.value || query.dataset === fields.dataset.value)
        && (!fields.winner.value || query.winners.includes(fields.winner.value))
        && words.every((word) => query.text.includes(word));
      query.item.hidden = !fits;
      shown += fits;
    }
    for (const part of form.querySelectorAll("[data-count]")) {
      part.textContent = part.dataset.count === "shown" ? shown : queries.length;
    }
  };
  const change = () => {
    for (const [name, field] of Object.entries(fields)) remember(name, field.value);
    show();
  };

  for (const [name, field] of Object.entries(fields)) field.value = state.get(name) || "";
  for (const name of ["dataset", "winner"]) {
    if (fields[name].selectedIndex < 0) fields[name].selectedIndex = 0;
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", change);
  form.addEventListener("reset", () => setTimeout(change));
  document.getElementById("open-all").addEventListener("click", () => {
    for (const query of queries) if (!query.item.hidden) query.item.open = true;
  });
  document.getElementById("close-all").addEventListener("click", () => {
    for (const query of queries) query.item.open = false;
  });
  form.hidden = false;
  show();
}

// A link's own fragment would wipe what is kept in the address.
function startLinks() {
  for (const link of document.querySelectorAll("a[href^='#']")) {
    link.addEventListener("click", (event) => {
      const target = document.getElementById(link.getAttribute("href").slice(1));
      event.preventDefault();
      target.scrollIntoView();
      target.tabIndex = -1;
      target.focus({ preventScroll: true });
    });
  }
}

startLanguage();
startChoosers();
startFilter();
startLinks();

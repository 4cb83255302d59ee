/** The page: language, theme, key, tabs, and the six panels. */

import * as address from "./address.js";
import * as catalogue from "./catalogue.js";
import { el } from "./dom.js";
import * as key from "./key.js";
import * as embeddings from "./panel_embeddings.js";
import * as metrics from "./panel_metrics.js";
import * as models from "./panel_models.js";
import * as rerank from "./panel_rerank.js";
import * as tokenise from "./panel_tokenise.js";
import * as weights from "./panel_weights.js";
import { ask, get, Refusal } from "./server.js";
import { lasting } from "./storage.js";
import * as tabs from "./tabs.js";
import { refusal } from "./task.js";
import * as theme from "./theme.js";
import { LANGUAGES, speak, spoken } from "./words.js";

const PANELS = { embeddings, rerank, tokenise, weights, metrics, models };

/** The language of the address, else the one chosen before, else the browser's. */
function language() {
  const asked = [address.read().lang, lasting.read("lagotto-language"), ...navigator.languages];
  const found = asked.map((code) => code?.toLowerCase().split("-")[0]).find((code) => code && LANGUAGES.includes(code));
  return found ?? LANGUAGES[0];
}

/** @param {string} code */
async function show(code) {
  await speak(code);
  address.write({ lang: code });
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === code));
  }
}

/** Read the models; where a key is wanted, ask for one. What is wrong stands above the panels until it is right. */
async function connect() {
  document.getElementById("trouble")?.remove();
  try {
    await catalogue.refresh();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const again = el("button", { type: "button", t: "again", click: connect });
    const trouble = el("div", { id: "trouble", class: "failure", role: "alert" }, ...refusal(error), again);
    document.getElementById("main").prepend(trouble);
    if (error.status === 401) key.ask();
  }
}

async function start() {
  theme.start();
  await show(language());
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      lasting.write("lagotto-language", button.dataset.language);
      void show(button.dataset.language);
    });
  }
  for (const [id, panel] of Object.entries(PANELS)) panel.start(document.getElementById(id));
  key.start(async () => {
    await connect();
    document.dispatchEvent(new CustomEvent("key"));
  });
  await connect();
  tabs.start();
  tabs.open(address.read().panel);
  window.addEventListener("hashchange", () => {
    const { panel, lang } = address.read();
    if (panel !== tabs.current()) tabs.open(panel);
    if (lang && LANGUAGES.includes(lang) && lang !== spoken()) void show(lang);
  });
  const { body } = await ask(get("health"));
  document.getElementById("version").textContent = body.version;
  document.documentElement.dataset.ready = "";
}

void start();

/** MaxSim: choose a token of the query, and see which tokens of the document answer it. */

import { boxed, el } from "./dom.js";
import { shown } from "./pieces.js";
import { maxSim } from "./similarity.js";
import { say } from "./words.js";

/** @typedef {import("./panel_weights.js").Side} Side */

/** @param {Side} query @param {Side} document @returns {Node[]} */
export function maxSimView(query, document) {
  const names = [query, document].map(namesOf);
  const { score, rows } = maxSim(query.row.multivector, document.row.multivector);
  const all = rows.flatMap((row) => row.values);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const share = (/** @type {number} */ value) => (high > low ? (value - low) / (high - low) : 1);
  const told = el("p", { class: "told", role: "status" });
  const answers = names[1].map((name) => el("span", { class: "weight" }, ...boxed(name)));

  /** @param {number} place of a token of the query */
  function choose(place) {
    const { values, best } = rows[place];
    for (const [other, button] of buttons.entries()) button.setAttribute("aria-pressed", String(other === place));
    for (const [other, node] of answers.entries()) {
      node.style.setProperty("--share", share(values[other]).toFixed(4));
      node.classList.toggle("best", other === best);
      node.lastChild.textContent = values[other].toFixed(2);
    }
    const value = values[best]?.toFixed(4) ?? "–";
    say(told, "weights.best", { token: names[0][place], best: names[1][best] ?? "–", value });
  }

  const buttons = names[0].map((name, place) => {
    const value = rows[place].values[rows[place].best] ?? 0;
    const take = () => choose(place);
    const listeners = { click: take, focus: take, mouseenter: take };
    const given = { type: "button", class: "chip", "aria-pressed": "false", ...listeners };
    return el("button", given, ...boxed(name, value.toFixed(3)));
  });
  if (rows.length) choose(0);
  return [
    el("h2", { t: "weights.max_sim" }),
    el("p", { class: "muted", t: "weights.max_sim.score", v: { score: score.toFixed(4) } }),
    ...(names.every((list) => list.aligned) ? [] : [el("p", { class: "note", t: "weights.unaligned" })]),
    el("h3", { t: "query" }),
    el("div", { class: "chips", role: "group", called: "weights.choose" }, ...buttons),
    told,
    el("h3", { t: "document" }),
    el("p", { class: "weighted" }, ...answers),
  ];
}

/**
 * What each vector of a text is of. BGE-M3 gives the first special token none, so that there is one vector less than
 * tokens; other models add or leave out tokens of their own (ColBERT's markers, masks and punctuation), and then
 * vectors are numbered rather than named wrongly.
 * @param {Side} side @returns {string[] & { aligned: boolean }}
 */
function namesOf({ pieces, row }) {
  const count = row.multivector.length;
  const aligned = pieces.length - 1 === count && pieces[0]?.special;
  const names = aligned ? pieces.slice(1).map(shown) : row.multivector.map((_, place) => `#${place + 1}`);
  return Object.assign(names, { aligned });
}

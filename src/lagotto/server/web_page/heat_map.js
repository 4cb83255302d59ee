/** A matrix of similarities as a table: every cell has its number, and a colour between the least and the largest. */

import { cutMark, el, scrolling } from "./dom.js";

/**
 * @param {string[]} texts
 * @param {{ tokens: number, truncated: boolean }[]} rows
 * @param {number[][]} values
 * @returns {Node[]} the table, and what its colours mean
 */
export function heatMap(texts, rows, values) {
  const all = values.flat();
  const low = Math.min(...all);
  const high = Math.max(...all);
  const share = (/** @type {number} */ value) => (high > low ? (value - low) / (high - low) : 1);
  const numbers = texts.map((_, place) => el("th", { scope: "col" }, String(place + 1)));
  const titles = [el("th", { scope: "col", class: "text", t: "text" }), el("th", { scope: "col", t: "tokens" })];
  const head = el("tr", {}, ...titles, ...numbers);
  const cell = (/** @type {number} */ value) =>
    el("td", { class: "heat", style: { "--share": share(value).toFixed(4) } }, value.toFixed(3));
  const body = texts.map((text, place) => {
    const { tokens, truncated } = rows[place];
    const number = el("span", { class: "number" }, String(place + 1));
    return el(
      "tr",
      {},
      el("th", { scope: "row", class: "text", title: text }, number, text),
      el("td", { class: "tokens" }, String(tokens), truncated ? cutMark() : null),
      ...values[place].map(cell),
    );
  });
  const table = el("table", { class: "heat-map" }, el("thead", {}, head), el("tbody", {}, ...body));
  return [scrolling("embeddings.matrix", table), legend(low, high)];
}

/** @param {number} low @param {number} high */
function legend(low, high) {
  const ramp = el("span", { class: "ramp", "aria-hidden": "true" });
  return el("p", { class: "legend muted" }, el("span", {}, low.toFixed(3)), ramp, el("span", {}, high.toFixed(3)));
}

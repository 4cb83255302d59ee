/** Lexical weights: over the tokens of both texts, and of tokens that the model added. */

import { boxed, el } from "./dom.js";
import { shown } from "./pieces.js";
import { lexical } from "./similarity.js";

/** @typedef {import("./panel_weights.js").Side} Side */

const MOST = 40; // added tokens that are listed

/** @param {Side} query @param {Side} document @param {Map<number, string>} names of tokens that stand in neither text
 * @returns {Node[]} */
export function lexicalView(query, document, names) {
  const largest = Math.max(1e-9, ...query.row.sparse.values, ...document.row.sparse.values);
  const shared = new Set(query.row.sparse.indices.filter((id) => document.row.sparse.indices.includes(id)));
  const score = lexical(query.row.sparse, document.row.sparse).toFixed(4);
  return [
    el("h2", { t: "weights.lexical" }),
    el("p", { class: "muted", t: "weights.lexical.score", v: { score, count: shared.size } }),
    ...text("query", query, largest, shared, names),
    ...text("document", document, largest, shared, names),
  ];
}

/**
 * @param {string} title @param {Side} side @param {number} largest @param {Set<number>} shared
 * @param {Map<number, string>} names @returns {Node[]}
 */
function text(title, side, largest, shared, names) {
  const { indices, values } = side.row.sparse;
  const weights = new Map(indices.map((id, place) => [id, values[place]]));
  const own = new Map(side.pieces.map((piece) => [piece.id, shown(piece)]));
  const added = indices
    .filter((id) => !own.has(id))
    .sort((a, b) => weights.get(b) - weights.get(a));
  const marked = (/** @type {string} */ name, /** @type {number} */ id) =>
    mark(name, weights.get(id) ?? 0, largest, shared.has(id));
  const marks = side.pieces.filter((piece) => !piece.special).map((piece) => marked(shown(piece), piece.id));
  const parts = [el("h3", { t: title }), el("p", { class: "weighted" }, ...marks)];
  if (added.length) {
    const listed = added.slice(0, MOST).map((id) => marked(names.get(id) ?? String(id), id));
    const more = added.length - listed.length;
    parts.push(el("h4", { t: "weights.added", v: { count: added.length } }), el("p", { class: "weighted" }, ...listed));
    if (more) parts.push(el("p", { class: "muted", t: "weights.more", v: { count: more } }));
  }
  return parts;
}

/** @param {string} name @param {number} weight @param {number} largest @param {boolean} both texts have it */
function mark(name, weight, largest, both) {
  const kind = `weight${both ? " both" : ""}${weight ? "" : " none"}`;
  const style = { "--share": (weight / largest).toFixed(4) };
  return el("span", { class: kind, style }, ...boxed(name, weight ? weight.toFixed(3) : "0"));
}

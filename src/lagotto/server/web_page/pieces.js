/** Tokens of a text: which of them a model reads, and how they are shown. */

import { boxed, el } from "./dom.js";

/** What `POST /tokenize` tells of a token. `start` and `stop` count characters; special tokens have none.
 * @typedef {{ id: number, text: string, special: boolean, start: number | null, stop: number | null }} Piece */

/**
 * Which tokens a model reads: as many as fit beside the special ones, from the side its truncation keeps.
 * @param {Piece[]} pieces @param {number} most tokens @param {"left" | "right" | "error"} side
 * @returns {boolean[]}
 */
export function read(pieces, most, side) {
  const own = pieces.filter((piece) => !piece.special).length;
  const room = Math.max(0, most - (pieces.length - own));
  const first = side === "left" ? Math.max(0, own - room) : 0;
  let place = -1;
  return pieces.map((piece) => {
    if (piece.special) return true;
    place += 1;
    return place >= first && place < first + room;
  });
}

/** A token as it is shown: white space is made visible, and one without characters has a sign. @param {Piece} piece */
export function shown(piece) {
  return piece.text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "·") || "∅";
}

/** A token with its id. @param {Piece} piece @param {Record<string, any>} [given] further attributes */
export function chip(piece, given = {}) {
  const { class: more = "", ...rest } = given;
  const kind = `chip${piece.special ? " special" : ""} ${more}`.trim();
  return el("span", { class: kind, ...rest }, ...boxed(shown(piece), String(piece.id)));
}

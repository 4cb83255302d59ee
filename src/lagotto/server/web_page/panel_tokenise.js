/** Panel 3: the tokens of a text, and which of them the model never sees. */

import * as catalogue from "./catalogue.js";
import { el, facts } from "./dom.js";
import * as inputs from "./inputs.js";
import { chip, read } from "./pieces.js";
import { post } from "./server.js";
import * as task from "./task.js";

const MOST = 3000; // tokens that are drawn; browsers become slow with more

/** @param {HTMLElement} panel */
export function start(panel) {
  const { model, prompt, text } = panel.querySelector("form").elements;
  catalogue.keep(model, (known) => !known.llm);
  const prompts = () => catalogue.offerPrompts(prompt, catalogue.known(model.value)?.prompts ?? []);
  model.addEventListener("change", prompts);
  prompts();
  let name = "";

  const requests = () => {
    const asked = { inputs: [inputs.text(text)], ...(prompt.value && { prompt_name: prompt.value }) };
    return [post(`tokenize?model=${encodeURIComponent(inputs.model(model))}`, asked)];
  };

  task.start(panel, {
    verb: "tokenise.run",
    requests,
    asking(wanted, signal) {
      name = model.value;
      return task.asked(wanted, signal, name);
    },
    show: ([answer]) => draw(name, answer),
  });
}

/** @param {string} name @param {import("./server.js").Answer} answer @returns {Node[]} */
function draw(name, answer) {
  const pieces = answer.body[0];
  const model = catalogue.known(name);
  const most = model?.max_length ?? Infinity;
  const kept = read(pieces, most, model?.truncation ?? "right");
  const lost = kept.filter((one) => !one).length;
  const special = pieces.filter((piece) => piece.special).length;
  const more = pieces.length - MOST;
  return [
    facts([
      ["fact.tokens", String(pieces.length)],
      ["fact.special", String(special)],
      ["fact.limit", model ? String(most) : "–"],
      ["fact.unread", String(lost)],
      ...task.timings(answer),
    ]),
    ...(model?.task === "rerank" ? [el("p", { class: "note", t: "tokenise.pair" })] : []),
    el("h2", { t: "tokenise.tokens" }),
    verdict(lost, model),
    el("div", { class: "chips" }, ...chips(pieces, kept)),
    ...(more > 0 ? [el("p", { class: "note", t: "tokenise.more", v: { count: more } })] : []),
  ];
}

/** One sentence on what is cut. @param {number} lost @param {catalogue.Loaded | undefined} model */
function verdict(lost, model) {
  if (!lost) return el("p", { class: "muted", t: "tokenise.whole" });
  const key = model?.truncation === "error" ? "tokenise.refused" : `tokenise.cut.${model?.truncation ?? "right"}`;
  return el("p", { class: "note warning", t: key, v: { count: lost, limit: model?.max_length } });
}

/** @param {import("./pieces.js").Piece[]} pieces @param {boolean[]} kept @returns {Node[]} */
function chips(pieces, kept) {
  const nodes = [];
  for (const [place, piece] of pieces.slice(0, MOST).entries()) {
    // A special token at the end is read whatever was cut before it, and is no beginning.
    const edge = place > 0 && kept[place] !== kept[place - 1];
    const t = kept[place] ? "tokenise.begins" : "tokenise.ends";
    if (edge && !piece.special) nodes.push(el("span", { class: "edge", t }));
    nodes.push(chip(piece, { class: kept[place] ? "" : "unread" }));
  }
  return nodes;
}

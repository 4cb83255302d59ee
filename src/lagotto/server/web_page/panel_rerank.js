/** Panel 2: documents as they came, as a reranker orders them, and as an embedder alone would. */

import * as catalogue from "./catalogue.js";
import { cutMark, el, facts } from "./dom.js";
import * as inputs from "./inputs.js";
import { post } from "./server.js";
import { cosine, inner } from "./similarity.js";
import * as task from "./task.js";

const LONG = 300; // characters from which on a document may scroll, and has to be reached by keyboard for that

/** @param {HTMLElement} panel */
export function start(panel) {
  const { model, dense, query, split, documents } = panel.querySelector("form").elements;
  catalogue.keep(model, (known) => known.task === "rerank");
  catalogue.keep(dense, (known) => known.outputs?.includes("dense") ?? false, "rerank.dense.none");
  /** @type {any[]} what the answers are to; the form may have changed meanwhile */
  let shown = [];

  const requests = () => {
    const asked = { query: inputs.text(query), documents: inputs.texts(documents, split.value) };
    const wanted = [post("v1/rerank", { model: inputs.model(model), ...asked, return_documents: false })];
    if (dense.value) {
      const encode = { model: dense.value, outputs: ["dense"] };
      wanted.push(post("v1/encode", { ...encode, input: [asked.query], role: "query" }));
      wanted.push(post("v1/encode", { ...encode, input: asked.documents, role: "document" }));
    }
    return wanted;
  };

  task.start(panel, {
    verb: "rerank.run",
    requests,
    asking(wanted, signal) {
      shown = wanted.map((request) => request.body);
      return task.asked(wanted, signal, ...new Set(shown.map((body) => body.model)));
    },
    show: (answers) => draw(shown, answers),
  });
}

/** @param {any[]} asked @param {import("./server.js").Answer[]} answers @returns {Node[]} */
function draw(asked, answers) {
  const [ranked, query, documents] = answers;
  const texts = asked[0].documents;
  const cut = inputs.cut(ranked.headers);
  const count = ranked.headers.get("x-lagotto-truncated")?.includes("...") ? `${cut.size}+` : cut.size;
  const alone = query ? denseOrder(asked[1].model, query.body.data[0].dense, documents.body.data) : null;
  const items = ranked.body.results.map((result, place) => item(texts, result, place, cut, alone));
  return [
    facts([
      ["fact.documents", String(texts.length)],
      ["fact.tokens", String(ranked.body.usage.total_tokens)],
      ["fact.truncated", el("span", cut.size ? { t: "fact.truncated.documents", v: { count } } : { t: "none" })],
      ...task.timings(ranked),
    ]),
    el("h2", { t: "rerank.order" }),
    el("ol", { class: "ranking" }, ...items),
  ];
}

/**
 * Each document's place and similarity in the order of an embedder.
 * @param {string} model @param {number[]} query @param {{ dense: number[] }[]} documents
 */
function denseOrder(model, query, documents) {
  const measure = (catalogue.known(model)?.normalize ?? true) ? cosine : inner;
  const scores = documents.map((document) => measure(query, document.dense));
  const order = scores.map((_, index) => index).sort((a, b) => scores[b] - scores[a] || a - b);
  return scores.map((score, index) => ({ place: order.indexOf(index), score }));
}

/**
 * One document in the new order.
 * @param {string[]} texts @param {{ index: number, relevance_score: number }} result @param {number} place
 * @param {Set<number>} cut @param {{ place: number, score: number }[] | null} alone
 */
function item(texts, result, place, cut, alone) {
  const { index, relevance_score: score } = result;
  const text = texts[index];
  const marks = [
    el("span", { class: "score", style: { "--share": score.toFixed(4) } }, el("span", {}, score.toFixed(4))),
    el("span", { class: "muted", t: "rerank.before", v: { place: index + 1 } }),
    movement(index - place),
  ];
  if (alone) {
    const v = { place: alone[index].place + 1, score: alone[index].score.toFixed(3) };
    marks.push(el("span", { class: "muted", t: "rerank.dense.place", v }), movement(alone[index].place - place));
  }
  const document = el("p", { class: "document", tabindex: text.length > LONG ? 0 : null }, text);
  if (cut.has(index)) document.append(cutMark());
  const body = el("div", {}, document, el("p", { class: "marks" }, ...marks));
  return el("li", {}, el("span", { class: "place" }, String(place + 1)), body);
}

/** How far a document went up, or down. @param {number} by */
function movement(by) {
  const [sign, kind] = by > 0 ? ["▲", "up"] : by < 0 ? ["▼", "down"] : ["=", "same"];
  const count = Math.abs(by);
  const given = { class: `movement ${kind}`, role: "img", called: `rerank.${kind}`, v: { count } };
  return el("span", given, count ? `${sign} ${count}` : sign);
}

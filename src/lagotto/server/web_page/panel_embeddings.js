/** Panel 1: several texts, and how alike they are. */

import * as catalogue from "./catalogue.js";
import { el, facts } from "./dom.js";
import * as inputs from "./inputs.js";
import { heatMap } from "./heat_map.js";
import { post } from "./server.js";
import { matrix } from "./similarity.js";
import * as task from "./task.js";

/** @param {HTMLElement} panel */
export function start(panel) {
  const { model, role, dimensions, split, texts } = panel.querySelector("form").elements;
  catalogue.keep(model, (known) => known.outputs?.includes("dense") ?? false);
  model.addEventListener("change", () => {
    const width = catalogue.known(model.value)?.dimension;
    if (width) dimensions.max = String(width);
    else dimensions.removeAttribute("max");
  });

  const requests = () => [
    post("v1/encode", {
      model: inputs.model(model),
      input: inputs.texts(texts, split.value),
      role: role.value,
      outputs: ["dense"],
      dimensions: inputs.count(dimensions),
    }),
  ];

  task.start(panel, {
    verb: "embeddings.run",
    requests,
    async asking(wanted, signal) {
      shown = wanted[0].body;
      return task.asked(wanted, signal, shown.model);
    },
    show: ([answer]) => draw(shown, answer),
  });
  /** @type {any} what the answer is to; the form may have changed meanwhile */
  let shown = null;
}

/** @param {any} asked @param {import("./server.js").Answer} answer @returns {Node[]} */
function draw(asked, answer) {
  const rows = answer.body.data;
  const vectors = rows.map((row) => row.dense);
  const cut = rows.filter((row) => row.truncated).map((row) => row.index + 1);
  const which = cut.length ? { t: "fact.truncated.texts", v: { numbers: cut.join(", ") } } : { t: "none" };
  const values = matrix(vectors, catalogue.known(asked.model)?.normalize ?? true);
  return [
    facts([
      ["fact.dimension", String(vectors[0].length)],
      ["fact.tokens", String(answer.body.usage.total_tokens)],
      ["fact.truncated", el("span", which)],
      ...task.timings(answer),
      ["fact.fingerprint", el("code", {}, answer.body.fingerprint)],
    ]),
    ...(rows.length > 1 ? compared(asked.input, rows, values) : [vectorOf(vectors[0])]),
  ];
}

/** @param {string[]} texts @param {{ tokens: number, truncated: boolean }[]} rows @param {number[][]} values */
function compared(texts, rows, values) {
  return [el("h2", { t: "embeddings.matrix" }), ...closest(values), ...heatMap(texts, rows, values)];
}

/** Which two of several texts are most alike. @param {number[][]} values @returns {Node[]} */
function closest(values) {
  if (values.length < 3) return [];
  let best = { a: 0, b: 1 };
  for (let a = 0; a < values.length; a += 1) {
    for (let b = a + 1; b < values.length; b += 1) if (values[a][b] > values[best.a][best.b]) best = { a, b };
  }
  const v = { a: best.a + 1, b: best.b + 1, value: values[best.a][best.b].toFixed(3) };
  return [el("p", { class: "muted", t: "embeddings.closest", v })];
}

/** The beginning of a vector, where there is nothing to compare it with. @param {number[]} vector */
function vectorOf(vector) {
  const numbers = vector.slice(0, 24).map((value) => value.toFixed(4));
  const more = vector.length > numbers.length ? " …" : "";
  return el("pre", { class: "vector" }, `[${numbers.join(", ")}${more}]`);
}

/** Panel 4: what a model with sparse or multi-vector output makes of each token of a query and a document. */

import * as catalogue from "./catalogue.js";
import { el, facts } from "./dom.js";
import * as inputs from "./inputs.js";
import { lexicalView } from "./lexical_view.js";
import { maxSimView } from "./max_sim_view.js";
import { read } from "./pieces.js";
import { ask, post } from "./server.js";
import * as task from "./task.js";

const OUTPUTS = ["sparse", "multivector"];
const able = (/** @type {catalogue.Loaded} */ model) => OUTPUTS.some((output) => model.outputs?.includes(output));

/** @param {HTMLElement} panel */
export function start(panel) {
  const { model, query, document: text } = panel.querySelector("form").elements;
  catalogue.keep(model, able);
  const note = el("div", { class: "note", hidden: true });
  panel.querySelector(".output").prepend(note);
  const check = () => {
    const found = catalogue.everything();
    note.hidden = !found.length || found.some((one) => one.model && able(one.model));
    const idle = found.filter((one) => !one.model && one.offer.state !== "loaded").map((one) => one.offer.id);
    note.replaceChildren(el("p", { t: "weights.nobody" }));
    if (idle.length) note.append(el("p", { t: "weights.maybe", v: { names: idle.join(", ") } }));
  };
  document.addEventListener("models", check);
  check();
  /** @type {any[]} */
  let shown = [];

  const requests = (name = inputs.model(model)) => {
    const known = catalogue.known(name);
    // A model that is not in memory gives what it has; which that is, its answer tells.
    const outputs = known && OUTPUTS.filter((output) => known.outputs.includes(output));
    const sides = [["query", inputs.text(query)], ["document", inputs.text(text)]];
    return sides.flatMap(([role, given]) => {
      const prompt = known?.prompts.includes(role) && { prompt_name: role };
      return [
        post("v1/encode", { model: name, input: [given], role, outputs }),
        post(`tokenize?model=${encodeURIComponent(name)}`, { inputs: [given], ...prompt }),
      ];
    });
  };

  task.start(panel, {
    verb: "weights.run",
    requests: () => requests(),
    async asking(wanted, signal) {
      const name = model.value;
      if (!catalogue.known(name)) {
        await ask(wanted[1], signal); // loads it; then its outputs and prompts are known, and the requests complete
        await catalogue.refresh();
        if (!able(catalogue.known(name))) throw new task.Mistake("weights.unable");
        wanted = requests(name);
      }
      shown = wanted.map((request) => request.body);
      return task.asked(wanted, signal);
    },
    show: (answers, signal) => draw(shown[0].model, answers, signal),
  });
}

/** One text as the model saw it. @typedef {{ pieces: import("./pieces.js").Piece[], row: any }} Side */

/**
 * @param {string} name @param {import("./server.js").Answer[]} answers @param {AbortSignal} signal
 * @returns {Promise<Node[]>}
 */
async function draw(name, answers, signal) {
  const model = catalogue.known(name);
  const [query, document] = [0, 2].map((place) => {
    const pieces = answers[place + 1].body[0];
    const kept = model ? read(pieces, model.max_length, model.truncation) : pieces.map(() => true);
    return { pieces: pieces.filter((_, index) => kept[index]), row: answers[place].body.data[0] };
  });
  const parts = [
    facts([
      ["fact.tokens", `${query.row.tokens} + ${document.row.tokens}`],
      ["fact.truncated", el("span", { t: query.row.truncated || document.row.truncated ? "yes" : "none" })],
      ...task.timings(answers[2]),
    ]),
  ];
  if (query.row.sparse) parts.push(...lexicalView(query, document, await namesOf(name, [query, document], signal)));
  if (query.row.multivector) parts.push(...maxSimView(query, document));
  return parts;
}

/**
 * The texts of tokens that got a weight and stand in neither text: SPLADE's expansions.
 * @param {string} name @param {Side[]} sides @param {AbortSignal} signal @returns {Promise<Map<number, string>>}
 */
async function namesOf(name, sides, signal) {
  const there = new Set(sides.flatMap((side) => side.pieces.map((piece) => piece.id)));
  const weighted = new Set(sides.flatMap((side) => side.row.sparse.indices));
  const ids = [...weighted].filter((id) => !there.has(id)).slice(0, 2000);
  if (!ids.length) return new Map();
  const asked = { ids: ids.map((id) => [id]), skip_special_tokens: false };
  const { body } = await ask(post(`decode?model=${encodeURIComponent(name)}`, asked), signal);
  return new Map(ids.map((id, place) => [id, body[place]]));
}

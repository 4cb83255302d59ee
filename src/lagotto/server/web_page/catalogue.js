/** The models of the server: what it offers, what of it is in memory, and the choosers of all panels. */

import { el } from "./dom.js";
import { ask, get } from "./server.js";
import { say } from "./words.js";

/**
 * What `GET /models` tells of a model in memory.
 * @typedef {object} Loaded
 * @property {string} id
 * @property {"embed" | "rerank"} task
 * @property {string | null} architecture
 * @property {number | null} max_length tokens
 * @property {"left" | "right" | "error"} truncation
 * @property {string[]} prompts their names
 * @property {string} fingerprint
 * @property {{ name: string, device: string | null, precision: string | null, weights: string | null, threads: number | null }} engine
 * @property {{ model: string, strategy: string }} [llm] of a language model elsewhere, which has neither a limit nor tokens here
 * @property {string[]} [outputs] of an embedder
 * @property {number | null} [dimension]
 * @property {string} [pooling]
 * @property {boolean} [normalize]
 */
/** @typedef {{ id: string, state: "loaded" | "loading" | "failed" | "idle", error: string | null }} Offered */

/** @type {Map<string, Loaded>} */
let loaded = new Map();
/** @type {Offered[]} */
let offered = [];

/** Read both lists anew; `models` is told on the document. Throws `Refusal`. */
export async function refresh() {
  const [all, now] = await Promise.all([ask(get("v1/models")), ask(get("models"))]);
  offered = all.body.data;
  loaded = new Map(now.body.models.map((/** @type {Loaded} */ model) => [model.id, model]));
  document.dispatchEvent(new CustomEvent("models"));
}

/** What is known of a model in memory. @param {string} id @returns {Loaded | undefined} */
export const known = (id) => loaded.get(id);

/** All that is offered, and what is known of it. @returns {{ offer: Offered, model: Loaded | undefined }[]} */
export const everything = () => offered.map((offer) => ({ offer, model: loaded.get(offer.id) }));

/**
 * Keep a chooser's options to the models that fit. One that is not in memory may be of any kind: it is offered, marked,
 * and loaded by being asked for. Further names of a model in memory are left out.
 * @param {HTMLSelectElement} chooser
 * @param {(model: Loaded) => boolean} fits
 * @param {string | null} none key of the words of an option for no model at all
 */
export function keep(chooser, fits, none = null) {
  const draw = () => {
    const before = chooser.value;
    const found = everything().filter(({ offer, model }) => (model ? fits(model) : offer.state !== "loaded"));
    const options = found.map(({ offer: { id }, model }) =>
      model ? el("option", { value: id }, id) : el("option", { value: id, t: "model.idle", v: { name: id } }),
    );
    if (none !== null) options.push(el("option", { value: "", t: none }));
    else if (!options.length) options.push(el("option", { value: "", t: "model.none" }));
    chooser.replaceChildren(...options);
    const kept = [...chooser.options].some((option) => option.value === before);
    chooser.value = kept && before ? before : (chooser.options[0]?.value ?? "");
    chooser.dispatchEvent(new Event("change"));
  };
  document.addEventListener("models", draw);
  draw();
}

/** After a model was used that was not in memory, it is known. @param {string} id */
export async function learn(id) {
  if (id && !loaded.has(id)) await refresh();
}

/** Give a chooser of prompts those of a model. @param {HTMLSelectElement} chooser @param {string[]} names */
export function offerPrompts(chooser, names) {
  const before = chooser.value;
  const plain = el("option", { value: "" });
  say(plain, "prompt.none");
  chooser.replaceChildren(plain, ...names.map((name) => el("option", { value: name }, name)));
  chooser.value = names.includes(before) ? before : "";
}

/** Panel 6: the models, what they run on, and whether they are in memory. */

import * as catalogue from "./catalogue.js";
import { el, facts } from "./dom.js";
import { parse } from "./prometheus.js";
import { ask, get, Refusal } from "./server.js";
import * as task from "./task.js";

/** @typedef {import("./server.js").Answer} Answer */

const REQUESTS = [get("v1/models"), get("models"), get("metrics")];

/** @param {HTMLElement} panel */
export function start(panel) {
  const { run } = task.start(panel, {
    verb: "models.run",
    requests: () => REQUESTS,
    async asking(wanted, signal) {
      await catalogue.refresh();
      return [await ask(wanted[2], signal).catch(without)];
    },
    show: ([metrics]) => draw(metrics),
  });
  document.addEventListener("panel", (event) => {
    if (event.detail === panel.id) void run();
  });
}

/** Memory is told by /metrics, which a key may not be allowed to read; all else is shown all the same.
 * @param {any} error @returns {any} */
function without(error) {
  if (error instanceof Refusal && (error.status === 401 || error.status === 403)) return null;
  throw error;
}

/** @param {Answer | null} metrics @returns {Node[]} */
function draw(metrics) {
  const sizes = metrics && parse(metrics.body).get("lagotto_model_bytes");
  const bytes = new Map((sizes ?? []).map(({ labels, value }) => [labels.model, value]));
  const cards = catalogue.everything().map(({ offer, model }) => card(offer, model, bytes.get(offer.id)));
  const note = el("p", { class: "note", t: "models.no_metrics" });
  return [...(metrics ? [] : [note]), el("div", { class: "cards" }, ...cards)];
}

/** @param {catalogue.Offered} offer @param {catalogue.Loaded | undefined} model @param {number | undefined} bytes */
function card(offer, model, bytes) {
  const state = el("span", { class: `state ${offer.state}`, t: `state.${offer.state}` });
  const title = el("header", {}, el("h2", {}, offer.id), state);
  const content = model ? known(model, bytes) : el("p", { class: "muted", ...unknown(offer) });
  return el("article", { class: "card" }, title, content);
}

/** Why no more is known of a model. @param {catalogue.Offered} offer */
function unknown(offer) {
  if (offer.state === "failed") return { t: "models.failed", v: { error: offer.error } };
  return { t: offer.state === "loaded" ? "models.alias" : `models.${offer.state}` };
}

/** @param {catalogue.Loaded} model @param {number | undefined} bytes */
function known(model, bytes) {
  const { engine, outputs, prompts, llm } = model;
  const words = (/** @type {string} */ t) => el("span", { t });
  if (llm) {
    return facts([
      ["fact.task", words(`task.${model.task}`)],
      ["fact.llm", llm.model],
      ["fact.strategy", llm.strategy],
      ["fact.long", words(`truncation.${model.truncation}`)],
      ["fact.fingerprint", el("code", {}, model.fingerprint)],
    ]);
  }
  return facts([
    ["fact.task", words(`task.${model.task}`)],
    ["fact.device", `${engine.device} · ${engine.name}`],
    ["fact.precision", engine.weights === "full" ? engine.precision : `${engine.precision} · ${engine.weights}`],
    ["fact.threads", String(engine.threads ?? "–")],
    ["fact.memory", bytes ? `${(bytes / 2 ** 20).toFixed(0)} MB` : "–"],
    ["fact.limit", String(model.max_length)],
    ["fact.long", words(`truncation.${model.truncation}`)],
    ["fact.architecture", model.architecture],
    ...(outputs ? [["fact.outputs", outputs.join(", ")]] : []),
    ...(model.dimension ? [["fact.dimension", String(model.dimension)]] : []),
    ...(model.pooling ? [["fact.pooling", model.pooling]] : []),
    ["fact.prompts", prompts.length ? prompts.join(", ") : words("none")],
    ["fact.fingerprint", el("code", {}, model.fingerprint)],
  ]);
}

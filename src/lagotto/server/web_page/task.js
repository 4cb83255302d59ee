/**
 * What every panel's form does: ask, show what came or what went wrong, and give the same requests as code.
 * While it asks, its button stops it; whatever happens, the button is itself again afterwards.
 */

import { learn } from "./catalogue.js";
import { copyButtons } from "./copy_buttons.js";
import { el } from "./dom.js";
import * as apiKey from "./key.js";
import { askAll, Refusal } from "./server.js";
import { say } from "./words.js";

/** @typedef {import("./server.js").Request} Request */
/** @typedef {import("./server.js").Answer} Answer */

/** What is wrong with what was filled in; `message` is a key of the words file. */
export class Mistake extends Error {
  /** @param {string} key @param {HTMLElement | null} [field] where the focus goes */
  constructor(key, field = null) {
    super(key);
    this.field = field;
  }
}

/**
 * Let a panel work.
 * @param {HTMLElement} panel with a form, a place for its buttons and one for what comes
 * @param {object} how
 * @param {string} how.verb key of the button's words
 * @param {() => Request[]} how.requests what the form asks for now; throws `Mistake`
 * @param {(answers: Answer[], signal: AbortSignal) => Promise<Node[]> | Node[]} how.show draws the answers
 * @param {(requests: Request[], signal: AbortSignal) => Promise<Answer[]>} [how.asking] instead of all at once
 * @returns {{ run: () => Promise<void> }}
 */
export function start(panel, { verb, requests, show, asking = askAll }) {
  const form = panel.querySelector("form");
  const main = el("button", { type: "submit", class: "main", t: verb });
  const status = el("p", { class: "status muted", role: "status" });
  const failure = el("div", { class: "failure", role: "alert", hidden: true });
  const results = el("div", { class: "results" });
  form.querySelector(".actions").append(main, ...copyButtons(requests, status, attempt), status);
  const empty = el("p", { class: "empty", t: "empty" });
  results.append(empty);
  panel.querySelector(".output").append(failure, results);
  /** @type {AbortController | null} */
  let running = null;

  async function run() {
    if (running) return;
    await attempt(async () => {
      const wanted = requests();
      running = new AbortController();
      busy(true);
      results.replaceChildren(...(await show(await asking(wanted, running.signal), running.signal)));
      say(status, "done", { time: clock() });
    });
    running = null;
    busy(false);
  }

  /** @param {() => Promise<void>} work */
  async function attempt(work) {
    failure.hidden = true;
    delete status.dataset.t;
    status.textContent = "";
    try {
      await work();
    } catch (error) {
      if (error.name === "AbortError") say(status, "stopped");
      else told(error);
    }
  }

  /** @param {any} error */
  function told(error) {
    if (error instanceof Refusal) failure.replaceChildren(...refusal(error));
    else if (error instanceof Mistake) failure.replaceChildren(el("p", { t: error.message }));
    else {
      failure.replaceChildren(el("p", { t: "failure.page", v: { message: error.message } }));
      console.error(error);
    }
    failure.hidden = false;
    error.field?.focus();
  }

  /** @param {boolean} on */
  function busy(on) {
    results.setAttribute("aria-busy", String(on));
    main.classList.toggle("running", on);
    say(main, on ? "stop" : verb);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else void run();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !running) form.requestSubmit();
  });
  return { run };
}

/** Ask, and then know the model, which may have been loaded for it.
 * @param {Request[]} requests @param {AbortSignal} signal @param {...string} models @returns {Promise<Answer[]>} */
export async function asked(requests, signal, ...models) {
  const answers = await askAll(requests, signal);
  for (const model of models) await learn(model);
  return answers;
}

/** How long an answer took: on the server, by its header, and as seen from here. @param {Answer} answer
 * @returns {[string, string][]} */
export function timings(answer) {
  const there = answer.headers.get("x-lagotto-time-ms");
  return [
    ["fact.server", there === null ? "–" : `${there} ms`],
    ["fact.round", `${answer.milliseconds.toFixed(1)} ms`],
  ];
}

/** What the server said, when to come again, and a way to give a key. @param {Refusal} error @returns {Node[]} */
export function refusal(error) {
  const title = error.status ? el("strong", { t: "failure.status", v: { status: error.status } }) : null;
  const parts = [el("p", {}, title, error.message)];
  if (error.after !== null) parts.push(el("p", { t: "failure.after", v: { seconds: error.after } }));
  if (error.status === 401 || error.status === 403) {
    parts.push(el("button", { type: "button", t: "key.enter", click: apiKey.ask }));
  }
  return parts;
}

/** The time of day, as the language writes it. */
const clock = () => new Date().toLocaleTimeString(document.documentElement.lang);


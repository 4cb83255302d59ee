/** Panel 5: what the server is doing, every two seconds, while somebody looks. */

import { copyButtons } from "./copy_buttons.js";
import { el } from "./dom.js";
import { lineChart } from "./line_chart.js";
import { parse } from "./prometheus.js";
import { rates } from "./rates.js";
import { ask, get, Refusal } from "./server.js";
import * as tabs from "./tabs.js";
import { refusal } from "./task.js";
import { say } from "./words.js";

const SECONDS = 2;
const ROOM = 91; // points that are kept: three minutes
const REQUEST = get("metrics");
const QUEUE = [
  { key: "queue", name: "metrics.queue.rows" },
  { key: "running", name: "metrics.queue.running" },
];
const LATENCY = [
  { key: "median", name: "metrics.latency.median" },
  { key: "slow", name: "metrics.latency.slow" },
];

const number = (/** @type {number} */ value) =>
  value >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
const percent = (/** @type {number} */ value) => `${(value * 100).toFixed(1)} %`;
const duration = (/** @type {number} */ value) => (value < 1 ? `${number(value * 1000)} ms` : `${number(value)} s`);

/** @param {HTMLElement} panel */
export function start(panel) {
  const charts = [
    lineChart({ title: "metrics.requests", lines: [{ key: "requests" }], written: number }),
    lineChart({ title: "metrics.tokens", lines: [{ key: "tokens" }], written: number }),
    lineChart({ title: "metrics.queue", lines: QUEUE, written: number }),
    lineChart({ title: "metrics.latency", lines: LATENCY, written: duration }),
    lineChart({ title: "metrics.padding", lines: [{ key: "padding" }], written: percent }),
    lineChart({ title: "metrics.hits", lines: [{ key: "hits" }], written: percent }),
  ];
  const status = el("p", { class: "status muted", role: "status" });
  const failure = el("div", { class: "failure", role: "alert", hidden: true });
  const pause = el("button", { type: "submit", class: "main", t: "metrics.pause" });
  const copiers = copyButtons(() => [REQUEST], status, (work) => work().catch(failed));
  panel.querySelector(".actions").append(pause, ...copiers, status);
  panel.querySelector(".output").append(failure, el("div", { class: "charts" }, ...charts.map(({ node }) => node)));

  /** @type {import("./rates.js").Point[]} */
  let points = [];
  /** @type {{ at: number, scrape: import("./prometheus.js").Scrape } | null} */
  let last = null;
  let paused = false;
  let asking = false;
  /** @type {number | undefined} */
  let timer;

  const looked = () => !paused && tabs.current() === panel.id && document.visibilityState === "visible";

  async function tick() {
    clearTimeout(timer);
    if (!looked() || asking) return;
    asking = true;
    try {
      const { body } = await ask(REQUEST);
      take(parse(body), performance.now() / 1000);
      failure.hidden = true;
    } catch (error) {
      failed(error);
    } finally {
      asking = false;
    }
    if (looked()) timer = setTimeout(tick, SECONDS * 1000);
  }

  /** @param {import("./prometheus.js").Scrape} scrape @param {number} at seconds */
  function take(scrape, at) {
    if (last) points = [...points, rates(last.scrape, scrape, at - last.at)].slice(-ROOM);
    last = { at, scrape };
    for (const { draw } of charts) draw(points, ROOM);
    say(status, points.length ? "metrics.live" : "metrics.first", { seconds: SECONDS });
  }

  /** A server that can't be reached may come back; one that refuses a key will not. @param {any} error */
  function failed(error) {
    last = null;
    failure.replaceChildren(...(error instanceof Refusal ? refusal(error) : [el("p", {}, error.message)]));
    failure.hidden = false;
    if (error.status === 401 || error.status === 403) set(true);
  }

  /** @param {boolean} on */
  function set(on) {
    paused = on;
    last = null;
    say(pause, on ? "metrics.resume" : "metrics.pause");
    if (on) say(status, "metrics.paused");
    else void tick();
  }

  const wake = () => {
    if (!looked()) {
      clearTimeout(timer);
      last = null; // the time between is no interval
    } else void tick();
  };
  panel.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    set(!paused);
  });
  document.addEventListener("panel", wake);
  document.addEventListener("visibilitychange", wake);
  document.addEventListener("key", () => set(false));
}

/** What two scrapes of `/metrics`, one after the other, say of the time between them. */

import { quantile, sum } from "./prometheus.js";

/** @typedef {import("./prometheus.js").Scrape} Scrape */

/** Routes that tell of the server rather than use it; this page asks some of them all the time. */
const ASIDE = new Set(["/metrics", "/models", "/v1/models", "/health", "/ready", "/", "other"]);
const used = (/** @type {Record<string, string>} */ labels) => !ASIDE.has(labels.route);

/**
 * A value a line; null where there is none, as of a share of nothing.
 * @typedef {"requests" | "tokens" | "queue" | "running" | "padding" | "hits" | "median" | "slow"} Line
 * @typedef {Record<Line, number | null>} Point
 */

/** @param {Scrape} before @param {Scrape} now @param {number} seconds between them @returns {Point} */
export function rates(before, now, seconds) {
  // A server that was started again counts from 0; that is no negative rate.
  const gained = (/** @type {string} */ name, fits = () => true) =>
    Math.max(0, sum(now, name, fits) - sum(before, name, fits));
  const share = (/** @type {number} */ part, /** @type {number} */ whole) => (whole > 0 ? part / whole : null);
  const [real, padded] = [gained("lagotto_engine_tokens_total"), gained("lagotto_engine_padded_tokens_total")];
  const [hits, misses] = [gained("lagotto_cache_hits_total"), gained("lagotto_cache_misses_total")];
  return {
    requests: gained("lagotto_requests_total", used) / seconds,
    tokens: gained("lagotto_tokens_total") / seconds,
    queue: sum(now, "lagotto_engine_waiting"),
    running: Math.max(0, sum(now, "lagotto_requests_in_progress") - 1), // without the one that asks
    padding: share(padded - real, padded),
    hits: share(hits, hits + misses),
    median: quantile(before, now, "lagotto_request_seconds", 0.5, used),
    slow: quantile(before, now, "lagotto_request_seconds", 0.95, used),
  };
}

/** Asking the server: addresses relative to the page, the key, and what went wrong in the server's own words. */

import { key, wanted } from "./key.js";
import { words } from "./words.js";

/**
 * One request. `path` is relative to the page and has no slash in front, so that a proxy may put a path before it.
 * @typedef {{ method: "GET" | "POST", path: string, body?: object }} Request
 */
/** @typedef {{ body: any, headers: Headers, milliseconds: number }} Answer */

/** Why there is no answer. */
export class Refusal extends Error {
  /**
   * @param {number} status 0 where the server was not reached
   * @param {string} message
   * @param {string | null} after seconds
   */
  constructor(status, message, after = null) {
    super(message);
    this.status = status;
    this.after = after;
  }
}

/** The full address of a path. @param {string} path */
export const addressOf = (path) => new URL(path, document.baseURI.split("#")[0]).href;

/** POST to a path. @param {string} path @param {object} body @returns {Request} */
export const post = (path, body) => ({ method: "POST", path, body });
/** GET a path. @param {string} path @returns {Request} */
export const get = (path) => ({ method: "GET", path });

/**
 * The answer to a request. Throws `Refusal`, or the browser's `AbortError` when it was taken back.
 * @param {Request} request
 * @param {AbortSignal} [signal]
 * @returns {Promise<Answer>}
 */
export async function ask(request, signal) {
  const headers = new Headers();
  if (request.body) headers.set("content-type", "application/json");
  if (key() !== null) headers.set("authorization", `Bearer ${key()}`);
  const begun = performance.now();
  const text = request.body && JSON.stringify(request.body);
  const given = { method: request.method, headers, body: text, signal };
  const [answer, content] = await fetched(addressOf(request.path), given);
  const body = read(content, answer.headers.get("content-type") ?? "");
  if (!answer.ok) {
    if (answer.status === 401 || answer.status === 403) wanted();
    throw new Refusal(answer.status, messageOf(body) || words("failure.bare"), answer.headers.get("retry-after"));
  }
  return { body, headers: answer.headers, milliseconds: performance.now() - begun };
}

/** The answers to several requests, asked at once. @param {Request[]} requests @param {AbortSignal} [signal] */
export const askAll = (requests, signal) => Promise.all(requests.map((request) => ask(request, signal)));

/** @param {string} address @param {RequestInit} given @returns {Promise<[Response, string]>} */
async function fetched(address, given) {
  try {
    const answer = await fetch(address, { ...given, cache: "no-store", credentials: "same-origin" });
    return [answer, await answer.text()];
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A key with characters that no header can have is refused before anything is sent.
    throw new Refusal(0, `${words("failure.network")} (${error.message})`);
  }
}

/** @param {string} content @param {string} type */
function read(content, type) {
  if (!type.startsWith("application/json")) return content;
  try {
    return JSON.parse(content);
  } catch {
    return content;
  }
}

/** What an error says, in whichever dialect's shape. @param {any} body */
function messageOf(body) {
  if (typeof body === "string") return body.slice(0, 500);
  const error = body?.error;
  return error?.message ?? (typeof error === "string" ? error : null) ?? body?.message ?? body?.detail ?? "";
}

/** The two buttons of every panel that copy what it asks, as code. */

import { copy } from "./clipboard.js";
import { el } from "./dom.js";
import * as apiKey from "./key.js";
import { inCurl, inPython } from "./snippets.js";
import { say } from "./words.js";

/**
 * @param {() => import("./server.js").Request[]} requests what the panel asks now; may throw
 * @param {HTMLElement} status where it is said that it was copied
 * @param {(work: () => Promise<void>) => Promise<void>} attempt does it, and shows what goes wrong
 * @returns {HTMLElement[]}
 */
export function copyButtons(requests, status, attempt) {
  return [["copy.curl", inCurl], ["copy.python", inPython]].map(([t, written]) => {
    const work = async () => {
      await copy(written(requests(), apiKey.key() !== null));
      say(status, "copied");
    };
    return el("button", { type: "button", class: "quiet", t, click: () => attempt(work) });
  });
}

/**
 * The page's words in the language chosen. Elements carry the key of what they show (`data-t`), so that switching the
 * language is a walk through the document, whatever was drawn in the meantime.
 */

/** @typedef {Record<string, string>} Words */

export const LANGUAGES = ["en", "zh"];
const TAGS = { en: "en", zh: "zh-Hans" };
const ATTRIBUTES = { tLabel: "aria-label", tPlaceholder: "placeholder", tTitle: "title" };

/** @type {Words} */
let chosen = {};
let language = "";

/** Read a language's words, and show the page in it. @param {string} code one of `LANGUAGES` */
export async function speak(code) {
  const address = new URL(`words/${code}.json`, import.meta.url);
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address.pathname}: ${answer.status}`);
  const before = chosen;
  chosen = await answer.json();
  language = code;
  document.documentElement.lang = TAGS[code];
  apply(document);
  for (const field of document.querySelectorAll("[data-example]")) fill(field, before);
}

/** The language the page is in. */
export const spoken = () => language;

/** Words by their key, with values put in for `{name}`. @param {string} key @param {Record<string, any>} [values] */
export function words(key, values = {}) {
  const found = chosen[key] ?? key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Let an element show words, now and in every other language. @param {HTMLElement} node @param {string} key
 * @param {Record<string, any>} [values] */
export function say(node, key, values) {
  node.dataset.t = key;
  if (values) node.dataset.v = JSON.stringify(values);
  else delete node.dataset.v;
  node.textContent = words(key, values);
}

/** Let an element be called something to those who don't see it. @param {HTMLElement} node @param {string} key
 * @param {Record<string, any>} [values] the same as of its text, where it has one */
export function label(node, key, values) {
  node.dataset.tLabel = key;
  if (values) node.dataset.v = JSON.stringify(values);
  node.setAttribute("aria-label", words(key, values));
}

/** Write the words of all elements of a part of the page. @param {ParentNode} root */
export function apply(root) {
  for (const node of root.querySelectorAll("[data-t]")) {
    node.textContent = words(node.dataset.t, node.dataset.v ? JSON.parse(node.dataset.v) : {});
  }
  for (const [data, attribute] of Object.entries(ATTRIBUTES)) {
    const selector = `[data-${data.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}]`;
    for (const node of root.querySelectorAll(selector)) {
      node.setAttribute(attribute, words(node.dataset[data], node.dataset.v ? JSON.parse(node.dataset.v) : {}));
    }
  }
}

/** Put an example into a field that is empty at the start, or still holds the one of the other language.
 * @param {HTMLTextAreaElement} field @param {Words} before */
function fill(field, before) {
  const old = before[field.dataset.example] ?? "";
  if (field.value === old) field.value = words(field.dataset.example);
}

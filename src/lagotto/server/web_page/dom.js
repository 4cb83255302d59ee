/** Making elements. Text always goes in as text: nothing here, or elsewhere on the page, reads markup from a string. */

import { label, say } from "./words.js";

/**
 * An element. `given` are attributes; besides, `t` is a key of the words file that the element shows, `called` that of
 * its `aria-label`, `v` the values in either, `style` custom properties, and functions are listeners (`click`).
 *
 * @param {string} tag
 * @param {Record<string, any>} [given]
 * @param {...(Node | string | null)} children
 * @returns {any} the element, of the class its tag has
 */
export function el(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  const { t, called, v, style, ...attributes } = given;
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  for (const [name, value] of Object.entries(style ?? {})) node.style.setProperty(name, String(value));
  if (t) say(node, t, v);
  if (called) label(node, called, v);
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** An element of a drawing. @param {string} tag @param {Record<string, any>} [given] @param {...Node} children */
export function svg(tag, given = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** @param {HTMLElement} node @param {string} name @param {any} value false and null leave the attribute out */
function set(node, name, value) {
  if (typeof value === "function") node.addEventListener(name, value);
  else if (value === true) node.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
}

/** Facts in a row: what each is called, and its value. @param {[string, string | Node][]} rows keys of words, values */
export function facts(rows) {
  const pairs = rows.map(([key, value]) => el("div", {}, el("dt", { t: key }), el("dd", {}, value)));
  return el("dl", { class: "facts" }, ...pairs);
}

/** A part that scrolls sideways by itself, and can be reached by keyboard. @param {string} key @param {Node} inside */
export function scrolling(key, inside) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", called: key }, inside);
}

/** The mark of what was not read whole. */
export const cutMark = () => el("span", { class: "cut", t: "cut" });

/** What makes up a token's box: its text, and a number below it. @param {string} text @param {string} [number] */
export const boxed = (text, number = "") => [el("span", { class: "piece" }, text), el("span", { class: "id" }, number)];

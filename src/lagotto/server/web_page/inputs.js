/** What was filled in, as the server takes it. */

import { Mistake } from "./task.js";

/** The texts of a field: its lines, or what blank lines divide; none is empty.
 * @param {HTMLTextAreaElement} field @param {string} split `lines` or `paragraphs` @returns {string[]} */
export function texts(field, split) {
  const parts = field.value.split(split === "lines" ? /\r?\n/ : /\r?\n[ \t]*\r?\n\s*/);
  const found = parts.map((part) => part.trim()).filter((part) => part);
  if (!found.length) throw new Mistake("mistake.text", field);
  return found;
}

/** The one text of a field, as it stands. @param {HTMLTextAreaElement} field @returns {string} */
export function text(field) {
  if (!field.value.trim()) throw new Mistake("mistake.text", field);
  return field.value;
}

/** The model of a chooser. @param {HTMLSelectElement} chooser @returns {string} */
export function model(chooser) {
  if (!chooser.value) throw new Mistake("mistake.model", chooser);
  return chooser.value;
}

/** A whole number of at least 1, or undefined where none was given. @param {HTMLInputElement} field */
export function count(field) {
  if (field.value === "" && !field.validity.badInput) return undefined;
  const number = Number(field.value);
  if (field.validity.badInput || !Number.isInteger(number) || number < 1) throw new Mistake("mistake.number", field);
  return number;
}

/** The numbers in `x-lagotto-truncated`; a long list ends before it is complete. @param {Headers} headers
 * @returns {Set<number>} */
export function cut(headers) {
  const given = headers.get("x-lagotto-truncated") ?? "";
  return new Set(given.split(",").filter((part) => /^\d+$/.test(part)).map(Number));
}

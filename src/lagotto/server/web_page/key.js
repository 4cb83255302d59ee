/** The API key: asked for in a dialog, kept for this tab alone, sent to this server alone. */

import { passing } from "./storage.js";

const NAME = "lagotto-key";
const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("key-dialog"));
const button = document.getElementById("key-button");

/** The key, where there is one. @returns {string | null} */
export const key = () => passing.read(NAME);

/** Ask for a key, once at a time. */
export function ask() {
  button.hidden = false;
  dialog.querySelector("[value=forget]").hidden = key() === null;
  if (!dialog.open) dialog.showModal();
}

/** Show that this server wants keys, without asking at once. */
export function wanted() {
  button.hidden = false;
}

/** Listen to the dialog; `changed` is called when there is another key, or none any more.
 * @param {() => void} changed */
export function start(changed) {
  button.hidden = key() === null;
  button.addEventListener("click", ask);
  dialog.addEventListener("close", () => {
    const field = dialog.querySelector("input");
    const given = field.value.trim();
    field.value = "";
    if (dialog.returnValue === "save" && given) passing.write(NAME, given);
    else if (dialog.returnValue === "forget") passing.write(NAME, null);
    else return;
    changed();
  });
}

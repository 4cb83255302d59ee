/** Light, dark, or as the system has it. */

import { lasting } from "./storage.js";

const NAME = "lagotto-theme"; // before_paint.js reads it too

/** Show a theme, and let the buttons say which. @param {string} choice `auto`, `light` or `dark` */
function show(choice) {
  if (choice === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  for (const button of document.querySelectorAll("[data-theme-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
  }
}

/** Listen to the buttons. */
export function start() {
  for (const button of document.querySelectorAll("[data-theme-choice]")) {
    button.addEventListener("click", () => {
      const choice = button.dataset.themeChoice;
      lasting.write(NAME, choice === "auto" ? null : choice);
      show(choice);
    });
  }
  show(lasting.read(NAME) ?? "auto");
}

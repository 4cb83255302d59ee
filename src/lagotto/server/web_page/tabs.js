/** Tabs as the ARIA practices have them: one stop for Tab, arrows, Home and End between them. */

import * as address from "./address.js";

/** @type {HTMLElement[]} */
const tabs = [...document.querySelectorAll('[role="tab"]')];

/** The panel a tab opens. @param {HTMLElement} tab @returns {HTMLElement} */
const panelOf = (tab) => document.getElementById(tab.getAttribute("aria-controls"));

/** The id of the panel that is open. */
export const current = () =>
  tabs.find((tab) => tab.getAttribute("aria-selected") === "true")?.getAttribute("aria-controls");

/** Open a panel by its id; the first one where there is none of that name. @param {string | null} id */
export function open(id) {
  const chosen = tabs.find((tab) => tab.getAttribute("aria-controls") === id) ?? tabs[0];
  for (const tab of tabs) {
    const on = tab === chosen;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    panelOf(tab).hidden = !on;
  }
  address.write({ panel: chosen.getAttribute("aria-controls") });
  chosen.scrollIntoView({ block: "nearest", inline: "nearest" });
  document.dispatchEvent(new CustomEvent("panel", { detail: current() }));
}

/** Listen to clicks and keys. */
export function start() {
  for (const [place, tab] of tabs.entries()) {
    tab.addEventListener("click", () => open(tab.getAttribute("aria-controls")));
    tab.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: place + 1, ArrowLeft: place - 1 + tabs.length, Home: 0, End: tabs.length - 1 };
      const next = steps[event.key];
      if (next === undefined) return;
      event.preventDefault();
      const target = tabs[next % tabs.length];
      open(target.getAttribute("aria-controls"));
      target.focus();
    });
  }
}

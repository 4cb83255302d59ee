/** What the address says after `#`: the panel and the language, so that a link opens the page as it was seen. */

/** @returns {{ panel: string | null, lang: string | null }} */
export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  return { panel: given.get("panel"), lang: given.get("lang") };
}

/** Write a change into the address, without a step in the history. @param {Record<string, string>} change */
export function write(change) {
  const all = { ...read(), ...change };
  const given = new URLSearchParams(Object.entries(all).filter(([, value]) => value));
  history.replaceState(null, "", `#${given}`);
}

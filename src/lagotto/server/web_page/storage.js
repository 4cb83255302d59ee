/**
 * What the browser remembers: language and theme for good, the API key for this tab alone.
 * Browsers may refuse storage altogether; then things are remembered until the page is left.
 */

/** @param {() => Storage} open */
function memory(open) {
  /** @type {Map<string, string>} */
  const instead = new Map();
  return {
    /** @param {string} name @returns {string | null} */
    read(name) {
      try {
        return open().getItem(name);
      } catch {
        return instead.get(name) ?? null;
      }
    },
    /** @param {string} name @param {string | null} value null forgets it */
    write(name, value) {
      try {
        if (value === null) open().removeItem(name);
        else open().setItem(name, value);
      } catch {
        if (value === null) instead.delete(name);
        else instead.set(name, value);
      }
    },
  };
}

/** Kept for good. */
export const lasting = memory(() => localStorage);
/** Kept until this tab is closed. */
export const passing = memory(() => sessionStorage);

/** Reading Prometheus' text format: as much of it as this server writes. */

/** @typedef {{ labels: Record<string, string>, value: number }} Sample */
/** Samples by the name of their series. @typedef {Map<string, Sample[]>} Scrape */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const NUMBERS = { "+Inf": Infinity, "-Inf": -Infinity, NaN };
const ESCAPES = { n: "\n" };

/** @param {string} text @returns {Scrape} */
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const parts = line.startsWith("#") ? null : LINE.exec(line);
    if (!parts) continue;
    const [, name, labels = "", value] = parts;
    const named = [...labels.matchAll(LABEL)].map(([, key, given]) => [key, unescaped(given)]);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push({ labels: Object.fromEntries(named), value: NUMBERS[value] ?? Number(value) });
  }
  return found;
}

/** A label's value. @param {string} given */
const unescaped = (given) => given.replace(/\\(.)/g, (_, sign) => ESCAPES[sign] ?? sign);

/**
 * The sum of a series' samples.
 * @param {Scrape} scrape @param {string} name @param {(labels: Record<string, string>) => boolean} [fits]
 */
export function sum(scrape, name, fits = () => true) {
  return (scrape.get(name) ?? []).filter(({ labels }) => fits(labels)).reduce((total, { value }) => total + value, 0);
}

/**
 * A quantile of what a histogram gained between two scrapes, by a straight line within its bucket, as Prometheus does.
 * @param {Scrape} before @param {Scrape} now @param {string} name without `_bucket` @param {number} share 0 to 1
 * @param {(labels: Record<string, string>) => boolean} fits
 * @returns {number | null} null where nothing was gained
 */
export function quantile(before, now, name, share, fits) {
  const edges = new Map();
  for (const [scrape, sign] of [[before, -1], [now, 1]]) {
    for (const { labels, value } of scrape.get(`${name}_bucket`) ?? []) {
      if (!fits(labels)) continue;
      const edge = NUMBERS[labels.le] ?? Number(labels.le);
      edges.set(edge, (edges.get(edge) ?? 0) + sign * value);
    }
  }
  const buckets = [...edges].sort(([a], [b]) => a - b);
  const all = buckets.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  const place = buckets.findIndex(([, count]) => count >= share * all);
  const [high, count] = buckets[place];
  const [low, less] = place ? buckets[place - 1] : [0, 0];
  return Number.isFinite(high) ? low + ((high - low) * (share * all - less)) / (count - less) : low;
}

/** A small chart: lines over the last minutes, their values now, nothing else. */

import { el, svg } from "./dom.js";
import { label, say } from "./words.js";

const WIDTH = 300;
const HEIGHT = 72;

/**
 * @param {object} what
 * @param {string} what.title key of its words
 * @param {{ key: string, name?: string }[]} what.lines which values of a point, and keys of what they are called
 * @param {(value: number) => string} what.written
 * @returns {{ node: HTMLElement, draw: (points: Record<string, number | null>[], room: number) => void }}
 */
export function lineChart({ title, lines, written }) {
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const most = el("span", { class: "most muted" });
  const values = lines.map(() => el("span", { class: "now" }, "–"));
  const now = lines.map(({ name }, place) =>
    el("span", { class: `value line-${place}` }, values[place], name ? el("span", { class: "muted", t: name }) : null),
  );
  const plot = el("div", { class: "plot", role: "img" }, drawing);
  label(plot, title);
  const figures = el("p", { class: "values" }, ...now, most);
  const node = el("section", { class: "chart" }, el("h2", { t: title }), figures, plot);

  /** @param {Record<string, number | null>[]} points @param {number} room for how many of them */
  function draw(points, room) {
    const all = points.flatMap((point) => lines.map(({ key }) => point[key])).filter((value) => value !== null);
    const top = Math.max(1e-9, ...all);
    const at = (/** @type {number} */ place, /** @type {number} */ value) => [
      WIDTH - ((points.length - 1 - place) * WIDTH) / (room - 1),
      HEIGHT - 2 - (value / top) * (HEIGHT - 6),
    ];
    const drawn = lines.flatMap(({ key }, line) =>
      runs(points.map((point) => point[key])).map((run) => {
        const where = run.map(([place, value]) => at(place, value).map((number) => number.toFixed(1)).join(","));
        // A single value is a line of no length, which round ends make a dot.
        return svg("polyline", { class: `line-${line}`, points: [...where, where.at(-1)].join(" ") });
      }),
    );
    drawing.replaceChildren(...drawn);
    if (all.length) say(most, "metrics.most", { value: written(top > 1e-9 ? top : 0) });
    for (const [place, { key }] of lines.entries()) {
      const value = points.at(-1)?.[key] ?? null;
      values[place].textContent = value === null ? "–" : written(value);
    }
  }
  return { node, draw };
}

/** Values without the gaps between them. @param {(number | null)[]} values @returns {[number, number][][]} */
function runs(values) {
  /** @type {[number, number][][]} */
  const found = [[]];
  for (const [place, value] of values.entries()) {
    if (value === null) found.push([]);
    else found.at(-1).push([place, value]);
  }
  return found.filter((run) => run.length);
}

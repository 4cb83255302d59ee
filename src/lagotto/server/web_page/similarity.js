/** How alike texts are, from what the server gave of them. */

/** @typedef {number[]} Vector */
/** @typedef {{ indices: number[], values: number[] }} Weights ids of tokens, and the weight of each */

/** @param {Vector} a @param {Vector} b */
export function inner(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i];
  return sum;
}

/** The cosine; 0 where one is all zeros. @param {Vector} a @param {Vector} b */
export function cosine(a, b) {
  const lengths = Math.sqrt(inner(a, a) * inner(b, b));
  return lengths ? inner(a, b) / lengths : 0;
}

/** Of every pair of rows, as the library compares them: by the cosine where a model normalises, else the inner product.
 * @param {Vector[]} rows @param {boolean} normalised @returns {number[][]} */
export function matrix(rows, normalised) {
  const measure = normalised ? cosine : inner;
  return rows.map((a) => rows.map((b) => measure(a, b)));
}

/** The sum of products of weights of the same tokens. @param {Weights} a @param {Weights} b */
export function lexical(a, b) {
  const other = new Map(b.indices.map((id, place) => [id, b.values[place]]));
  return a.indices.reduce((sum, id, place) => sum + a.values[place] * (other.get(id) ?? 0), 0);
}

/**
 * For each token of a query the products with all tokens of a document, and the place of the largest; the score is the
 * mean of these (Khattab and Zaharia 2020; the mean as BGE-M3 has it).
 * @param {Vector[]} query @param {Vector[]} document
 * @returns {{ score: number, rows: { values: number[], best: number }[] }}
 */
export function maxSim(query, document) {
  const rows = query.map((vector) => {
    const values = document.map((other) => inner(vector, other));
    return { values, best: values.indexOf(Math.max(...values)) };
  });
  const sum = rows.reduce((total, row) => total + (row.best < 0 ? 0 : row.values[row.best]), 0);
  return { score: rows.length ? sum / rows.length : 0, rows };
}

/** Requests as code. The key is never in it: a placeholder stands where it belongs. */

import { addressOf } from "./server.js";

/** @typedef {import("./server.js").Request} Request */

const PLACEHOLDER = "YOUR_API_KEY";

/** A shell command a request. @param {Request[]} requests @param {boolean} withKey @returns {string} */
export function inCurl(requests, withKey) {
  const commands = requests.map(({ method, path, body }) => {
    const parts = [`curl ${quoted(addressOf(path))}`];
    if (withKey) parts.push(`-H 'Authorization: Bearer ${PLACEHOLDER}'`);
    if (body) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
    else if (method === "POST") parts.push("-X POST");
    return parts.join(" \\\n  ");
  });
  return `${commands.join("\n\n")}\n`;
}

/** A program that needs nothing but Python. @param {Request[]} requests @param {boolean} withKey @returns {string} */
export function inPython(requests, withKey) {
  const headers = [
    ...(requests.some(({ body }) => body) ? ['"Content-Type": "application/json"'] : []),
    ...(withKey ? [`"Authorization": "Bearer ${PLACEHOLDER}"`] : []),
  ];
  const lines = ["import json", "import urllib.request", "", `HEADERS = {${headers.join(", ")}}`];
  for (const { path, body } of requests) {
    const data = body ? `data=json.dumps(${literal(body, 0)}).encode(), ` : "";
    lines.push("", `request = urllib.request.Request(${literal(addressOf(path), 0)}, ${data}headers=HEADERS)`);
    lines.push("with urllib.request.urlopen(request) as answer:", "    print(answer.read().decode())");
  }
  return `${lines.join("\n")}\n`;
}

/** A word of a shell, whatever is in it. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A value as Python writes it; strings are JSON's, which Python reads alike. @param {any} value @param {number} depth
 * @returns {string} */
function literal(value, depth) {
  const inner = "    ".repeat(depth + 1);
  const end = `\n${"    ".repeat(depth)}`;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((item) => `\n${inner}${literal(item, depth + 1)},`).join("")}${end}]`;
  if (typeof value === "object") {
    const rows = Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([name, item]) => `\n${inner}${JSON.stringify(name)}: ${literal(item, depth + 1)},`);
    return `{${rows.join("")}${end}}`;
  }
  return JSON.stringify(value);
}

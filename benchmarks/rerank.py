"""Reranking speed: one query with 100 passages, lagotto in bf16 and f32 beside every rival, in the same run.

    python benchmarks/rerank.py [--width small|base|large] [--rivals a,b] [--envs DIR] [--json OUT]

Prints a Markdown table.
"""

import harness
import texts

COUNTS = {"small": 100, "base": 100, "large": 50}
TARGETS = {
    "small": {"flagembedding": 8, "st-torch": 5, "infinity": 4, "onnxruntime": 1.8},
    "base": {},
    "large": {},
}


def main() -> None:
    options = harness.parser(__doc__.partition("\n")[0]).parse_args()
    model = harness.checkpoint(options, "rerank")
    count = options.count or COUNTS[options.width]
    items = texts.pairs(texts.load(options.texts), count)
    places = texts.sample([text for _, text in items], options.sample or len(items))
    rows = harness.compare("rerank", model, items, places, options)
    note = f"{harness.model_note(options, model)}: 1 query with {len(items)} passages; {options.threads} threads"
    print(f"### Rerank, {note}\n\n{harness.table(rows, 'pairs', TARGETS[options.width], len(items))}")
    print(harness.unrest(rows))
    harness.write_json(options, rows, note)


if __name__ == "__main__":
    main()

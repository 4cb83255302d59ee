"""Embedding speed: lagotto in bf16 and f32 beside every rival, on the same texts and weights, in the same run.

    python benchmarks/encode.py [--width small|base|large] [--rivals a,b] [--envs DIR] [--json OUT]

Prints a Markdown table, and the share of the machine's matrix product peak that the linear layers reached.
"""

import harness
import texts

COUNTS = {"small": 1000, "base": 300, "large": 100}
TARGETS = {
    "small": {
        "flagembedding": 15,
        "fastembed": 15,
        "infinity": 5,
        "st-torch": 6,
        "st-openvino": 1.4,
        "onnxruntime": 1.8,
    },
    "base": {},
    "large": {"st-torch": 4, "onnxruntime": 2},
}


def main() -> None:
    options = harness.parser(__doc__.partition("\n")[0]).parse_args()
    model = harness.checkpoint(options, "encode")
    items = harness.passages(options, COUNTS[options.width])
    rows = harness.compare("encode", model, items, texts.sample(items, options.sample or len(items)), options)
    tokens = next((row.tokens for row in rows if row.tokens and row.items == len(items)), 0)
    mean = f", {tokens / len(items):.0f} tokens on average" if tokens else ""
    note = f"{harness.model_note(options, model)}: {len(items)} texts{mean}; {options.threads} threads"
    print(f"### Encode, {note}\n\n{harness.table(rows, 'texts', TARGETS[options.width], len(items))}\n")
    print(harness.share_of_peak(rows, model, options), harness.unrest(rows), sep="\n")
    harness.write_json(options, rows, note)


if __name__ == "__main__":
    main()

"""A language model that embeds, on a CPU: Lagotto's graph beside its torch engine and sentence-transformers.

    python benchmarks/decoder.py [--layers 8] [--count 40] [--rounds 3] [--json OUT]
    python benchmarks/decoder.py --width mini --count 8 --rounds 1     # in miniature

All get the same random weights, of Qwen3-Embedding-0.6B's width; a layer is like any other, so few of them do. Prints
a Markdown table, and the share of the machine's matrix product peak that the linear layers reached.
"""

import statistics

import harness
import random_decoder
import texts

RIVALS = "lagotto bf16,lagotto f32,lagotto torch bf16,lagotto torch f32,st-torch,st-torch-bf16"


def table(rows: list[harness.Row], tokens: int) -> str:
    """Tokens a second, milliseconds a token by the clock, and how much quicker the graph in bf16 is."""
    base = next((row.rate for row in rows if row.name == harness.LAGOTTO), 0.0)
    lines = [f"| contestant | version | tokens/s | ms a token | {harness.LAGOTTO} is | load s | peak MB | agreement |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---|")
    for row in rows:
        if row.skipped or not row.seconds:
            lines.append(f"| {row.name} | | skipped | | | | | {row.skipped.replace('|', '/')} |")
            continue
        seconds = statistics.median(row.seconds)
        ratio = f"{base / row.rate:.2f}x" if base else ""
        lines.append(
            f"| {row.name} | {row.version} | {tokens / seconds:.0f} | {1000 * seconds / tokens:.3f} | {ratio} "
            f"| {row.load:.1f} | {row.peak_mb:.0f} | {row.agreement} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = harness.parser(__doc__.partition("\n")[0], ("mini", "qwen3-0.6b"), "qwen3-0.6b")
    parser.set_defaults(rivals=RIVALS)
    parser.add_argument("--layers", type=int, default=8, help="of the 28 that Qwen3-Embedding-0.6B has")
    options = parser.parse_args()
    like = harness.named(options, "encode")
    folder = harness.work(options) / f"random-{options.width}-embedder-{options.layers}"
    model = random_decoder.make(folder, options.width, like, "embedder", layers=options.layers)
    items = harness.passages(options, 40)
    rows = harness.compare("encode", model, items, texts.sample(items, options.sample or len(items)), options)
    tokens = next((row.tokens for row in rows if row.tokens), 0)
    note = (
        f"{options.width}, {options.layers} layers (random weights): {len(items)} texts, {tokens} tokens; "
        f"{options.threads} threads"
    )
    print(f"### Language model that embeds, {note}\n\n{table(rows, tokens)}\n")
    print(harness.share_of_peak(rows, model, options), harness.unrest(rows), sep="\n")
    harness.write_json(options, rows, note)


if __name__ == "__main__":
    main()

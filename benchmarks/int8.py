"""int8 on the CPU: lagotto's own, beside its bf16 and f32, torch, ONNX Runtime's dynamic int8 and CTranslate2's.

    python benchmarks/int8.py [--width small|base|large] [--rivals a,b] [--envs DIR] [--json OUT]

All get the same texts and weights in the same run. Lagotto calibrates on other texts than those that are timed.
"""

import harness
import texts

COUNTS = {"small": 400, "base": 120, "large": 40}
RIVALS = "lagotto bf16,lagotto f32,lagotto int8,st-torch,ort-int8,ctranslate2-int8"
TARGETS = {
    "small": {"lagotto bf16": 1.4, "ort-int8": 1.4, "ctranslate2-int8": 1.4},
    "base": {},
    "large": {"lagotto bf16": 1.6, "st-torch": 7},
}


def main() -> None:
    options = harness.parser(__doc__.partition("\n")[0]).parse_args()
    options.rivals = options.rivals or RIVALS
    model = harness.checkpoint(options, "encode")
    everything = texts.load(options.texts)
    places = texts.sample(everything, options.count or COUNTS[options.width])
    timed = [everything[place] for place in places]
    others = sorted(set(range(len(everything))) - set(places))
    options.calibration = [everything[place] for place in others[:: max(1, len(others) // 256)]]
    rows = harness.compare("encode", model, timed, list(range(len(timed))), options)
    note = f"{harness.model_note(options, model)}: {len(timed)} texts; {options.threads} threads"
    print(f"### int8, {note}\n\n{harness.table(rows, 'texts', TARGETS[options.width], len(timed), harness.INT8)}\n")
    print(harness.share_of_peak(rows, model, options), harness.unrest(rows), sep="\n")
    harness.write_json(options, rows, note)


if __name__ == "__main__":
    main()

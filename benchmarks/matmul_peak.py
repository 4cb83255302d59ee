"""The most that this machine gives matrix products, through OpenVINO graphs that hold nothing else; needs openvino.

    python benchmarks/matmul_peak.py [--threads 2]        prints GFLOP/s for f32, bf16 and int8

Two graphs are tried and the better one counts: a single large product, and a chain of products whose operands stay in
the processor's caches.
"""

import argparse
import json
import time

import numpy as np

GRAPHS = (("one product", 2048, 1024, 4096, 1), ("chain", 256, 1024, 1024, 8))  # rows, inner, columns, products


def peak(precision: str, threads: int, seconds: float = 3.0) -> float:
    """GFLOP/s of the best run of the better graph; each is run for `seconds`."""
    return max(rate(precision, threads, seconds, *graph[1:]) for graph in GRAPHS)


def rate(precision: str, threads: int, seconds: float, rows: int, inner: int, columns: int, products: int) -> float:
    """GFLOP/s of `products` products (rows, inner) x (inner, columns) in a row, with constant weights: the best run."""
    import openvino as ov
    from openvino import opset13 as op

    draw = np.random.default_rng(0)
    y = x = op.parameter([rows, inner], np.float32)
    for _ in range(products):
        weights = draw.standard_normal((columns, inner), dtype=np.float32) * np.float32(inner**-0.5)
        if precision == "int8":  # inputs and weights of 8 bits, which OpenVINO multiplies as they are
            low, high = op.constant(np.float32(-4)), op.constant(np.float32(4 * 127 / 128))
            whole = op.constant(np.round(weights * (16 * inner**0.5)).clip(-127, 127).astype(np.int8))
            scale = op.constant(np.full((columns, 1), inner**-0.5 / 16, np.float32))
            y = op.fake_quantize(y, low, high, low, high, 256)
            y = op.matmul(y, op.multiply(op.convert(whole, "f32"), scale), False, True)
        else:
            y = op.matmul(y, op.constant(weights), False, True)
    hint = "bf16" if precision == "int8" else precision
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    request = ov.Core().compile_model(ov.Model([op.result(y)], [x]), "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(draw.standard_normal((rows, inner), dtype=np.float32)))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        request.infer()
        best = min(best, time.perf_counter() - start)
    return 2 * rows * inner * columns * products / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(json.dumps({precision: round(peak(precision, options.threads), 1) for precision in ("f32", "bf16", "int8")}))


if __name__ == "__main__":
    main()

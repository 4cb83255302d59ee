"""Lagotto's own evaluator: `lagotto.evaluate` on folders and files, at the precision named in the job.

Started as `python rivals/lagotto_quality.py JOB.json`; writes {system: {data set: {measure: value}}} to its `out`.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    from lagotto import evaluate
    from lagotto.evaluation.datasets.pairs import read_pairs
    from lagotto.models.loading import Options

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    data = [read_pairs(Path(name)) if Path(name).is_file() else name for name in job["data"]]
    report = evaluate(
        data,
        model=job["model"],
        reranker=job["reranker"] or (),
        bm25=any(Path(name).is_dir() for name in job["data"]),
        rerank_top_k=job["depth"],
        top_k=1000,
        progress=True,
        options=Options(precision=job["precision"], threads=job["threads"]),
    )
    found: dict[str, dict[str, dict[str, float]]] = {}
    for result in report.results:
        values = {name: value.value for name, value in result.metrics.items()}
        found.setdefault(result.system, {})[result.dataset] = values
    Path(job["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()

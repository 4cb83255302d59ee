"""mteb's ``TaskResult`` as metrics: names and means as in Lagotto's reports."""

from __future__ import annotations

import math
import re
from typing import Any

from lagotto.evaluation.results import Estimate

_DIGITS = 6
"""mteb rounds to as many in its files; so a result is the same whether it was read there or just computed."""


def metrics_of(result: Any, task: Any) -> dict[str, Estimate]:
    """Every number of a result, the main score first; several splits and subsets are averaged as mteb does.

    Left out are scores that only some subsets have, those that are no numbers, and retrieval's ``nauc_...``, which
    grade a model's confidence and would be most of the list.
    """
    own = result.validate_and_filter_scores(task)  # the file may hold more languages than were asked for
    main = task.metadata.main_score
    values = {metric_name(main): own.get_score()}
    parts = [scores for split in own.scores.values() for scores in split]
    for key, first in parts[0].items():
        if key in (main, "main_score") or key.startswith("nauc_") or not _is_number(first):
            continue
        if all(_is_number(scores.get(key)) for scores in parts):
            values[metric_name(key)] = own.get_score(getter=lambda scores, key=key: scores[key])
    return {name: _exact(float(value)) for name, value in values.items()}


def metric_name(name: str) -> str:
    """``ndcg_at_10`` -> ``ndcg@10``; other names stay.

    >>> metric_name("ndcg_at_10"), metric_name("cosine_spearman")
    ('ndcg@10', 'cosine_spearman')
    """
    return re.sub(r"_at_(\d+)$", r"@\1", name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _exact(value: float) -> Estimate:
    rounded = round(value, _DIGITS)
    return Estimate(rounded, rounded, rounded)

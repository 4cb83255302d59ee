"""Passages shortened between two layers, against the mean of each group written out."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto.engines.torch.compression import compress  # noqa: E402
from lagotto.engines.torch.decoder import Flow  # noqa: E402


def written_out(states: Any, begin: int, end: int, ratio: int, weights: Any) -> Any:
    groups = [range(at, min(at + ratio, end)) for at in range(begin, end, ratio)]
    means = [sum(weights[i] * states[i] for i in group) / sum(weights[i] for i in group) for group in groups]
    return torch.stack([*states[:begin], *means, *states[end:]])


@pytest.mark.parametrize("ratio", [2, 3, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_groups_become_their_means(ratio: int, weighted: bool) -> None:
    torch.manual_seed(1)
    lengths, begins, closing = [19, 12, 7], [4, 0, 3], 3
    states, paid = torch.randn(3, 19, 5), torch.rand(3, 19) + 0.01
    flow = Flow(states.clone(), torch.tensor(lengths))
    compress(flow, torch.tensor(begins), closing, ratio, paid if weighted else None)
    for row, (length, begin) in enumerate(zip(lengths, begins, strict=True)):
        weights = paid[row] if weighted else torch.ones(19)
        expected = written_out(states[row, :length], begin, length - closing, ratio, weights)
        assert int(flow.lengths[row]) == len(expected)
        assert torch.allclose(flow.states[row, : len(expected)], expected, atol=1e-5)
        assert torch.equal(flow.states[row, :begin], states[row, :begin])
        assert torch.equal(flow.states[row, len(expected) - closing : len(expected)], states[row, length - 3 : length])
    assert flow.states.shape[1] == int(flow.lengths.max())


def test_a_passage_without_tokens_stays_without() -> None:
    flow = Flow(torch.randn(1, 5, 2), torch.tensor([5]))
    compress(flow, torch.tensor([2]), 3, 4)
    assert flow.lengths.tolist() == [5]


def test_a_group_that_got_no_attention_becomes_its_plain_mean() -> None:
    states = torch.randn(1, 4, 2)
    flow = Flow(states.clone(), torch.tensor([4]))
    compress(flow, torch.tensor([0]), 2, 2, torch.zeros(1, 4))
    assert torch.allclose(flow.states[0, 0], states[0, :2].mean(0), atol=1e-6)

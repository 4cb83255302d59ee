"""CLS tokens put in every so often, against ids put together by hand and run through transformers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder, MultiCls
from support.checkpoints import BERT, XLMR, some_texts, write_embedder

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

TEXTS = ["", "hello world", *some_texts(40, seed=21, longest=60)]
SHAPES = {"bert": BERT, "xlm-roberta": XLMR}


@pytest.fixture(scope="module", params=list(SHAPES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("cls") / name, SHAPES[name], pooling="cls")


@pytest.fixture(scope="module")
def model(folder: Path, cache: Path) -> Iterator[Embedder]:
    with Embedder(folder, precision="f32", threads=2) as opened:
        yield opened


@torch.no_grad()
def by_hand(folder: Path, text: str, every: int) -> tuple[np.ndarray, int]:
    """Chen et al. 2024, section on MCLS: a CLS token for every so many tokens, the mean of all their last states."""
    from support.reference import open_reference

    reference = open_reference(folder, 64)
    tokens = reference.tokenizer(text, add_special_tokens=False)["input_ids"]
    cls, end = reference.tokenizer("")["input_ids"] if folder.name == "bert" else (0, 2)
    while True:
        groups = [tokens[at : at + every] for at in range(0, len(tokens), every)] or [[]]
        ids = [token for group in groups for token in (cls, *group)] + [end]
        if len(ids) <= 64:
            break
        tokens = tokens[:-1]
    more = {"token_type_ids": torch.zeros(1, len(ids), dtype=torch.long)} if reference.types else {}
    states = reference.model(torch.tensor([ids]), **more).last_hidden_state[0]
    places = np.cumsum([0, *(len(group) + 1 for group in groups[:-1])])
    return torch.nn.functional.normalize(states[places].mean(dim=0), dim=0).numpy(), len(ids)


@pytest.mark.parametrize("every", [1, 7, 16, 300])
def test_the_mean_of_all_cls_states(folder: Path, model: Embedder, every: int) -> None:
    found = model.encode(TEXTS, truncation=MultiCls(every))
    for place, text in enumerate(TEXTS):
        expected, length = by_hand(folder, text, every)
        np.testing.assert_allclose(found.dense[place], expected, atol=2e-5)
        assert found.tokens[place] == length


def test_more_than_one_is_not_the_same_as_one(model: Embedder) -> None:
    plain, found = model.encode(TEXTS[2:]).dense, model.encode(TEXTS[2:], truncation=MultiCls(4)).dense
    assert np.abs(plain - found).max() > 0.01

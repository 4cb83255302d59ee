"""Token vectors of ColBERT models, against the method written down plainly in torch, one text at a time."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lagotto import Embedder
from lagotto.heads.similarity import max_sim_matrix
from support.checkpoints import BERT, XLMR, Shape, some_texts
from support.token_models import MARKERS, Layout, projection, write_colbert

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = ["", "what is a panda?", "a, b; c!", *some_texts(25, seed=9, longest=50)]
LAYOUTS: tuple[Layout, ...] = ("pylate", "stanford", "sentence-transformers")


class Plain:
    """Khattab and Zaharia 2020, section 3.2, with the lengths of the tiny checkpoints: queries 12, documents 24."""

    def __init__(self, folder: Path, shape: Shape, markers: tuple[str, str], *, attend: bool) -> None:
        self.tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        torch.set_num_threads(1)
        kind = transformers.BertModel if shape.architecture == "bert" else transformers.XLMRobertaModel
        self.model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        self.projection = torch.from_numpy(projection(shape, 8))
        self.mask = self.tokenizer.convert_tokens_to_ids("[MASK]" if shape.architecture == "bert" else "<mask>")
        self.markers = self.tokenizer.convert_tokens_to_ids(list(markers))
        self.skipped = set(self.tokenizer.convert_tokens_to_ids(list(string.punctuation)))
        self.attend = attend

    def tokens(self, text: str, marker: int | None, length: int) -> list[int]:
        first, *rest = self.tokenizer(text)["input_ids"]
        body, last = rest[:-1], rest[-1]
        head = [first] if marker is None else [first, marker]
        return [*head, *body[: length - len(head) - 1], last]

    @torch.no_grad()
    def vectors(self, ids: list[int], seen: int) -> torch.Tensor:
        attention = torch.tensor([[1] * seen + [0] * (len(ids) - seen)])
        states = self.model(input_ids=torch.tensor([ids]), attention_mask=attention).last_hidden_state[0]
        return torch.nn.functional.normalize(states @ self.projection.T, dim=-1)

    def query(self, text: str, *, expand: bool = True) -> NDArray[np.float32]:
        ids = self.tokens(text, self.markers[0], 12)
        filled = ids + [self.mask] * (12 - len(ids)) if expand else ids
        out: NDArray[np.float32] = self.vectors(filled, 12 if self.attend and expand else len(ids)).numpy()
        return out

    def document(self, text: str, *, marked: bool = True) -> NDArray[np.float32]:
        ids = self.tokens(text, self.markers[1] if marked else None, 24)
        keep = [place for place, token in enumerate(ids) if token not in self.skipped]
        out: NDArray[np.float32] = self.vectors(ids, len(ids))[keep].numpy()
        return out


def markers_of(layout: Layout) -> tuple[str, str]:
    return ("[unused0]", "[unused1]") if layout == "stanford" else MARKERS


@pytest.mark.parametrize("shape", [BERT, XLMR], ids=["bert", "xlm-roberta"])
@pytest.mark.parametrize("attend", [False, True], ids=["unseen masks", "seen masks"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_token_vectors(tmp_path: Path, cache: Path, layout: Layout, attend: bool, shape: Shape) -> None:
    folder = write_colbert(tmp_path / "colbert", shape, layout, attend=attend)
    plain = Plain(folder, shape, markers_of(layout), attend=attend)
    with Embedder(folder, precision="f32", threads=2) as model:
        assert model.outputs == ("multivector",)
        queries, documents = model.encode_queries(TEXTS), model.encode_documents(TEXTS)
        texts = model.encode(TEXTS)
    assert queries.multivector is not None
    assert documents.multivector is not None
    assert texts.multivector is not None
    assert queries.tokens.tolist() == [12] * len(TEXTS)
    assert queries.truncated.any()
    for place, text in enumerate(TEXTS):
        np.testing.assert_allclose(queries.multivector[place], plain.query(text), atol=2e-5)
        np.testing.assert_allclose(documents.multivector[place], plain.document(text), atol=2e-5)
        np.testing.assert_allclose(texts.multivector[place], plain.document(text, marked=False), atol=2e-5)
    assert len(documents.multivector.row(2)) < documents.tokens[2]  # punctuation is read, and gets no vector


def test_queries_that_are_not_filled_up(tmp_path: Path, cache: Path) -> None:
    folder = write_colbert(tmp_path / "colbert", do_query_expansion=False)
    plain = Plain(folder, BERT, MARKERS, attend=False)
    with Embedder(folder, precision="f32", threads=1) as model:
        found = model.encode_queries(TEXTS).multivector
    assert found is not None
    for place, text in enumerate(TEXTS):
        np.testing.assert_allclose(found[place], plain.query(text, expand=False), atol=2e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sentence_transformers_gives_the_same(tmp_path: Path, cache: Path, layout: Layout) -> None:
    reference = pytest.importorskip("sentence_transformers")
    if not hasattr(reference, "MultiVectorEncoder"):
        pytest.skip("this sentence-transformers has no MultiVectorEncoder")
    folder = write_colbert(tmp_path / "colbert", layout=layout)
    theirs = reference.MultiVectorEncoder(str(folder), device="cpu")
    with Embedder(folder, precision="f32", threads=1) as model:
        queries, documents = model.encode_queries(TEXTS), model.encode_documents(TEXTS)
        scores = model.similarity(queries, documents)
    pairs = ((queries, theirs.encode_query(TEXTS)), (documents, theirs.encode_document(TEXTS)))
    for ours, wanted in pairs:
        assert ours.multivector is not None
        for place in range(len(TEXTS)):
            np.testing.assert_allclose(ours.multivector[place], wanted[place].numpy(), atol=2e-5)
    assert queries.multivector is not None
    assert documents.multivector is not None
    np.testing.assert_array_equal(scores, max_sim_matrix(queries.multivector, documents.multivector))
    summed = theirs.similarity(pairs[0][1], pairs[1][1]).numpy()
    np.testing.assert_allclose(scores * 12, summed, atol=1e-4)  # theirs is the sum over a query's 12 vectors

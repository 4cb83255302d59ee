"""Rerankers that are language models, in the library: how pairs are written, what may be asked, what comes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder, Reranker, ScoreOptions
from lagotto.cards.card_file import chosen_card
from lagotto.cards.checkpoint import open_checkpoint
from lagotto.cards.sources import Source
from lagotto.core.arrays import sigmoid
from lagotto.core.errors import CheckpointError, InvalidInputError, TextTooLongError, UnsupportedModelError
from lagotto.models.loading import Options
from lagotto.models.opening import open_any, task_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from support.checkpoints import change_json  # noqa: E402
from support.llm_rerankers import CARDS, open_ranker, tokenizer, write_causal, write_layerwise  # noqa: E402

QUERY = "what is a giant panda"
DOCUMENTS = [
    "the giant panda is a bear",
    "paris is the capital of france",
    "dog",
    "",
    "what a blue night in the old city",
]
PAIRS = [(QUERY, document) for document in DOCUMENTS]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranker]:
    with open_ranker(write_causal(tmp_path_factory.mktemp("gemma"), "gemma"), "gemma") as ranker:
        yield ranker


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranker]:
    folder = write_layerwise(tmp_path_factory.mktemp("light"), "cost_wise_gemma")
    with open_ranker(folder, "cost_wise_gemma") as ranker:
        yield ranker


def test_scores_are_the_same_alone_and_together(gemma: Reranker, light: Reranker) -> None:
    for ranker in (gemma, light):
        together = ranker.score(PAIRS)
        alone = [ranker.score([pair])[0] for pair in PAIRS]
        assert np.allclose(together.scores, alone, atol=1e-5)
        assert np.allclose(ranker.score(PAIRS, normalize=True).scores, sigmoid(together.scores))


def test_scores_of_several_layers(light: Reranker) -> None:
    found = light.score(PAIRS, options=ScoreOptions(cutoff_layers=[4, 1, 2]))
    assert found.scores.shape == (len(PAIRS), 3)
    for place, layer in enumerate((4, 1, 2)):
        one = light.score(PAIRS, options=ScoreOptions(cutoff_layers=layer))
        assert one.scores.shape == (len(PAIRS),)
        assert np.allclose(one.scores, found.scores[:, place], atol=1e-5)
    with pytest.raises(InvalidInputError, match=r"\.scores\[pair, layer\]"):
        found[0]
    assert np.array_equal(light.score(PAIRS).scores, light.score(PAIRS, options=ScoreOptions(cutoff_layers=[4])).scores)


OWN_CARD = """
[[model]]
name = "mine"
task = "rerank"
architecture = "llama"
heads = ["yes_logit"]
max_length = 200
[model.query]
instruction = "Query: "
[model.document]
instruction = "Passage: "
[model.options]
opening = "<|im_start|>user\\n"
separator = "\\n"
prompt = "Yes or No?"
ending = "<|im_end|>\\n"
max_length_counts = "all"
yes_token = "Yes"
no_token = "No"
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A language model of no family, and the file that says how it is asked."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "card.toml").write_text(OWN_CARD, encoding="utf-8")
    return write_causal(folder / "llama", "llama"), str(folder / "card.toml")


def test_any_language_model_with_a_card_of_ones_own(own: tuple[Path, str]) -> None:
    folder, card = own
    with Reranker(folder, card=card, engine="torch", precision="f32", threads=1) as ranker:
        found = ranker.score([(QUERY, "dog")]).scores
        asked = ranker.score([(QUERY, "dog")], options=ScoreOptions(prompt="No or Yes?")).scores
    text = "<|im_start|>user\nQuery: {}\nPassage: dog\n{}<|im_end|>\n"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    for scores, question in ((found, "Yes or No?"), (asked, "No or Yes?")):
        ids = tokenizer().encode(text.format(QUERY, question), add_special_tokens=False).ids
        with torch.inference_mode():
            logits = model(torch.tensor([ids])).logits[0, -1]
        yes, no = (tokenizer().token_to_id(word) for word in ("Yes", "No"))
        assert np.allclose(scores, float(logits[yes] - logits[no]), atol=1e-5)


def test_a_card_of_ones_own_says_what_a_model_is(own: tuple[Path, str]) -> None:
    folder, card = own
    assert task_of(folder, Options(card=card)) == "rerank"
    with open_any(folder, Options(card=card, engine="torch", threads=1)) as ranker:
        assert isinstance(ranker, Reranker)
    with pytest.raises(InvalidInputError, match="mine is a model to rerank, not to embed"):
        Embedder(folder, card=card)
    with pytest.raises(CheckpointError, match=r"or a TOML file that says how it is asked, card='my-reranker\.toml'"):
        Reranker(folder)


def test_a_card_of_ones_own_does_not_vouch_for_code(own: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "llama"
    shutil.copytree(own[0], copy)
    change_json(copy / "config.json", auto_map={"AutoModel": "modeling_own.Own"})
    with pytest.raises(UnsupportedModelError, match="auto_map"):
        Reranker(copy, card=own[1], engine="torch")


def test_a_model_that_is_known_to_do_both(own: tuple[Path, str]) -> None:
    folder, file = own
    ranks = chosen_card(file)
    embeds = ranks.with_changes(task="embed", heads=("dense",), pooling="last_token", options={})
    source = Source("both", folder, embeds, ranks)
    assert open_checkpoint(source, "embed").card.pooling == "last_token"
    assert open_checkpoint(source, "rerank").card.heads == ("yes_logit",)


def test_no_pairs(light: Reranker) -> None:
    assert light.score([]).scores.shape == (0,)
    assert light.score([], options=ScoreOptions(cutoff_layers=[1, 2])).scores.shape == (0, 2)


def test_a_ranking_has_one_layer(light: Reranker) -> None:
    options = ScoreOptions(cutoff_layers=[1], compress_ratio=2, compress_layers=1)
    ranking = light.rank(QUERY, DOCUMENTS, options=options)
    assert sorted(place.index for place in ranking) == list(range(len(DOCUMENTS)))
    with pytest.raises(InvalidInputError, match=r"cutoff_layers are \(1, 2\).*name one layer") as caught:
        light.rank(QUERY, DOCUMENTS, options=ScoreOptions(cutoff_layers=[1, 2]))
    assert caught.value.param == "cutoff_layers"


def test_compression_is_computed(light: Reranker) -> None:
    plain = light.score(PAIRS).scores
    shorter = light.score(PAIRS, options=ScoreOptions(compress_layers=[2], compress_ratio=4)).scores
    assert not np.allclose(plain[:2], shorter[:2], atol=1e-3)
    without = light.score(PAIRS, options=ScoreOptions(cutoff_layers=2, compress_layers=[2, 3], compress_ratio=4))
    assert np.array_equal(without.scores, light.score(PAIRS, options=ScoreOptions(cutoff_layers=2)).scores)


def test_options_of_the_reranker_hold_where_a_call_is_silent(tmp_path: Path) -> None:
    folder = write_layerwise(tmp_path, "cost_wise_gemma")
    own = ScoreOptions(cutoff_layers=3, compress_layers=[1], compress_ratio=2)
    with open_ranker(folder, "cost_wise_gemma", options=own) as ranker, open_ranker(folder, "cost_wise_gemma") as plain:
        assert np.array_equal(ranker.score(PAIRS).scores, plain.score(PAIRS, options=own).scores)
        mixed = ScoreOptions(cutoff_layers=3, compress_layers=[1], compress_ratio=1)
        changed = ranker.score(PAIRS, options=ScoreOptions(compress_ratio=1))
        assert np.array_equal(changed.scores, plain.score(PAIRS, options=mixed).scores)
        assert ranker.options is own
        assert ranker.fingerprint != plain.fingerprint


def test_prompts_and_instructions_change_scores(light: Reranker, gemma: Reranker) -> None:
    plain = light.score(PAIRS).scores
    named = light.score(PAIRS, options=ScoreOptions(prompt="same_question")).scores
    spelled = "Predict whether queries A and B are asking the same thing."
    assert np.array_equal(named, light.score(PAIRS, options=ScoreOptions(prompt=spelled)).scores)
    assert not np.allclose(plain, named, atol=1e-4)
    bare = [(f"A: {query}", f"B: {document}") for query, document in PAIRS]
    without = ScoreOptions(instruction="", document_instruction="")
    assert np.array_equal(gemma.score(PAIRS).scores, gemma.score(bare, options=without).scores)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ScoreOptions(cutoff_layers=5), "cutoff_layers is 5; .* allows layers 1 to 4"),
        (ScoreOptions(cutoff_layers=[0, 2]), "allows layers 1 to 4"),
        (ScoreOptions(cutoff_layers=[]), "allows layers 1 to 4"),
        (ScoreOptions(cutoff_layers=[2, 2]), "each once"),
        (ScoreOptions(cutoff_layers="2"), "cutoff_layers is '2'"),  # type: ignore[arg-type]
        (ScoreOptions(cutoff_layers=True), "cutoff_layers is True"),
        (ScoreOptions(compress_layers=[4], compress_ratio=2), "allows layers 1 to 3"),
        (ScoreOptions(compress_ratio=3), "compress_ratio is 3; .* allows 1, 2, 4, 8"),
        (ScoreOptions(prompt=" "), "prompt is empty"),
        (ScoreOptions(instruction=3), "instruction is a int"),  # type: ignore[arg-type]
    ],
)
def test_what_a_model_does_not_allow_is_refused(light: Reranker, options: ScoreOptions, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        light.score(PAIRS, options=options)
    assert caught.value.param == options.given()[0]


def test_options_that_a_model_does_not_read_are_refused(gemma: Reranker, ranker: Reranker, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="reads no cutoff_layers; it reads instruction, document_instr.*prompt"):
        gemma.score(PAIRS, options=ScoreOptions(cutoff_layers=2))
    with pytest.raises(InvalidInputError, match="reads no prompt; it has no options"):
        ranker.score(PAIRS, options=ScoreOptions(prompt="Is it?"))
    with pytest.raises(InvalidInputError, match="reads no compress_ratio; it reads .*cutoff_layers"):
        folder = write_layerwise(tmp_path, "minicpm")
        open_ranker(folder, "minicpm", options=ScoreOptions(compress_ratio=2))


def test_long_documents(gemma: Reranker) -> None:
    words = " ".join(["the giant panda is a bear"] * 30)
    cut = gemma.score([(QUERY, words)], max_length=64, max_windows=1)
    assert cut.truncated.all()
    windows = gemma.score([(QUERY, words)], max_length=64, overlap=4, max_windows=None)
    assert not windows.truncated.any()
    assert windows.tokens[0] > cut.tokens[0]
    with pytest.raises(TextTooLongError):
        gemma.score([(QUERY, words)], max_length=64, max_windows=1, truncation="error")
    with pytest.raises(InvalidInputError, match="no room for query and document"):
        gemma.score([(QUERY, words)], max_length=1)


def test_a_folder_needs_a_card(tmp_path: Path) -> None:
    folder = write_causal(tmp_path, "gemma")
    with pytest.raises(CheckpointError, match="card='BAAI/bge-reranker-v2-gemma'"):
        Reranker(folder, engine="torch")
    assert set(CARDS) == {"gemma", "qwen2", "qwen3", "minicpm", "cost_wise_gemma", "cost_wise_mistral"}

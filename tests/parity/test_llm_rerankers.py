"""Scores of LLM rerankers: against transformers' own logits, upstream's kept values, and plain formulas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lagotto import ScoreOptions
from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.registry import find_card
from lagotto.cards.sources import Source
from lagotto.engines.base import Scoring

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from lagotto.engines.torch.pair_scores import PairScores  # noqa: E402
from support.llm_rerankers import CARDS, open_ranker, tokenizer, write_causal, write_layerwise  # noqa: E402

KEPT: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "llm_rerankers.json").read_text())
QUERY = "what is a giant panda"
DOCUMENTS = ["the giant panda is a bear", "paris is the capital of france and it has a river", "dog", "5 of 12"]


def understood(folder: Path, architecture: str) -> Checkpoint:
    return open_checkpoint(Source(str(folder), folder, row=None), "rerank", card=CARDS[architecture])


def batch_of(rows: Sequence[Sequence[int]], second: Sequence[int]) -> Batch:
    ids = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for row, given in enumerate(rows):
        ids[row, : len(given)] = given
    return Batch(ids, np.array([len(row) for row in rows], np.int32), np.array(second, np.int32), 0)


def ids(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False).ids)


def logits_of(folder: Path, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """transformers' logits at the last place of each row."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.inference_mode():
        found = [model.eval()(torch.tensor([row])).logits[0, -1].numpy() for row in rows]
    return np.array(found)


def laid_out(architecture: str, query: str, documents: Sequence[str]) -> list[list[int]]:
    """Pairs as the models' own scripts lay them out."""
    card = find_card(CARDS[architecture])
    assert card is not None
    facts = card.options
    if architecture == "qwen3":
        task = "Given a web search query, retrieve relevant passages that answer the query"
        whole = [f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}" for document in documents]
        return [[*ids(facts["opening"]), *ids(text), *ids(facts["ending"])] for text in whole]
    ends = [*ids("\n"), *ids(facts["prompt"])]
    if architecture == "qwen2":
        front = [*ids(facts["opening"]), *ids(f"query: {query}"), *ids("\n")]
        return [[*front, *ids(f"document: {document}"), *ends, *ids(facts["ending"])] for document in documents]
    return [[2, *ids(f"A: {query}"), *ids("\n"), *ids(f"B: {document}"), *ends] for document in documents]


@pytest.mark.parametrize(
    ("architecture", "engine", "yes", "no"),
    [
        ("gemma", "torch", "Yes", None),
        ("gemma", "openvino", "Yes", None),
        ("qwen3", "torch", "yes", "no"),
        ("qwen3", "openvino", "yes", "no"),
        ("qwen2", "torch", "1", "0"),
        ("qwen2", "openvino", "1", "0"),
    ],
)
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_transformers(
    architecture: str, engine: str, yes: str, no: str | None, tied: bool, tmp_path: Path, cache: Path
) -> None:
    folder = write_causal(tmp_path, architecture, tie_word_embeddings=tied, max_position_embeddings=1024)
    logits = logits_of(folder, laid_out(architecture, QUERY, DOCUMENTS))
    expected = logits[:, ids(yes)[0]] - (0 if no is None else logits[:, ids(no)[0]])
    with open_ranker(folder, architecture, engine=engine, cache_dir=cache) as ranker:
        assert ranker.engine.name == engine
        found = ranker.score([(QUERY, document) for document in DOCUMENTS])
    # OpenVINO's graph takes angles from float64 products, transformers from float32 ones.
    assert np.allclose(found.scores, expected, atol=1e-5 if engine == "torch" else 5e-5)


def test_an_instruction_is_written_as_the_model_reads_it(tmp_path: Path) -> None:
    folder = write_causal(tmp_path, "qwen2", max_position_embeddings=1024)
    with open_ranker(folder, "qwen2") as ranker:
        found = ranker.score([(QUERY, "dog")], options=ScoreOptions(instruction="find animals"))
    front, _, behind = "instruction: find animals\n", *("", "")
    row = laid_out("qwen2", QUERY, ["dog"])[0]
    at = row.index(ids("query")[0], len(ids(str(find_card(CARDS["qwen2"]).options["opening"]))))  # type: ignore[union-attr]
    with_it = [*row[:at], *ids(front + f"query: {QUERY}" + behind), *row[at + len(ids(f"query: {QUERY}")) :]]
    logits = logits_of(folder, [with_it])
    assert np.allclose(found.scores, logits[:, ids("1")[0]] - logits[:, ids("0")[0]], atol=1e-5)


@pytest.mark.parametrize("sharing", [True, False])
def test_minicpm_scores_are_upstreams(sharing: bool, tmp_path: Path) -> None:
    checkpoint = understood(write_layerwise(tmp_path, "minicpm"), "minicpm")
    scores = PairScores(checkpoint, "cpu", "f32", sharing=sharing)
    batch = batch_of(KEPT["ids"], KEPT["second"])
    layers = KEPT["minicpm"]["cutoff"]
    expected = np.array(KEPT["minicpm"]["scores"])
    assert np.allclose(scores(batch, Scoring(cutoff_layers=tuple(layers))), expected, atol=1e-5)
    falling = scores(batch, Scoring(cutoff_layers=(4, 2)))
    assert np.allclose(falling, expected[:, [3, 1]], atol=1e-5)


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("case", KEPT["cost_wise_gemma"], ids=lambda c: f"{c['compat']}-{c['cutoff']}-{c['ratio']}")
def test_lightweight_scores_are_upstreams(case: dict[str, Any], sharing: bool, tmp_path: Path) -> None:
    checkpoint = understood(write_layerwise(tmp_path, "cost_wise_gemma", sliding_window=16), "cost_wise_gemma")
    scores = PairScores(checkpoint, "cpu", "f32", sharing=sharing)
    how = Scoring(
        cutoff_layers=tuple(case["cutoff"]),
        compress_layers=tuple(case["layers"]),
        compress_ratio=case["ratio"],
        closing=KEPT["closing"],
        compat=case["compat"],
    )
    found = scores(batch_of(KEPT["ids"], KEPT["second"]), how)
    assert np.allclose(found, np.array(case["scores"]), atol=2e-5)


def weighted(states: Any, begin: int, closing: int, ratio: int, paid: Any) -> Any:
    """One row's states with its passage shortened, written out."""
    end = len(states) - closing
    groups = [range(at, min(at + ratio, end)) for at in range(begin, end, ratio)]
    means = [sum(paid[i] * states[i] for i in group) / sum(paid[i] for i in group) for group in groups]
    return torch.cat([states[:begin], torch.stack(means), states[end:]])


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize("layers", [(2,), (1, 3)])
def test_matroyshka_scores_are_those_of_the_formula(layers: tuple[int, ...], sharing: bool, tmp_path: Path) -> None:
    """Each row by itself through transformers' Mistral layers, with the last token's attention as weights."""
    folder = write_layerwise(tmp_path / "own", "cost_wise_mistral")
    raw = json.loads((folder / "config.json").read_text())
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    config = transformers.MistralConfig(
        **{key: raw[key] for key in keys}, head_dim=8, vocab_size=raw["vocab_size"], sliding_window=64
    )
    config._attn_implementation = "eager"
    model = transformers.MistralModel(config).eval()
    weights = {name: torch.from_numpy(value) for name, value in _tensors(folder).items()}
    model.load_state_dict({n.removeprefix("model."): w for n, w in weights.items() if n.startswith("model.")})
    expected = []
    with torch.inference_mode():
        for row, begin in zip(KEPT["ids"], KEPT["second"], strict=True):
            states, paid, scores = model.embed_tokens(torch.tensor(row)), None, []
            for number, layer in enumerate(model.layers):
                if number >= 1:
                    scores.append(model.norm(states[-1]) @ weights[f"lm_head.{number - 1}.linear_head.weight"][0])
                if number in layers:
                    states = weighted(states, begin, KEPT["closing"], 2, paid)
                places = torch.arange(len(states))[None]
                mask = torch.full((len(states),) * 2, -torch.inf).triu(1)[None, None]
                attention = layer.self_attn
                turns = model.rotary_emb(states[None], places)
                _, shares = attention(layer.input_layernorm(states[None]), turns, mask)
                paid = shares[0, :, -1].sum(0)
                out = layer(states[None], attention_mask=mask, position_embeddings=turns)
                states = (out[0] if isinstance(out, tuple) else out).reshape(len(states), -1)
            scores.append(model.norm(states[-1]) @ weights["lm_head.3.linear_head.weight"][0])
            expected.append([float(score) for score in scores])
    compute = PairScores(understood(folder, "cost_wise_mistral"), "cpu", "f32", sharing=sharing)
    how = Scoring(cutoff_layers=(1, 2, 3, 4), compress_layers=layers, compress_ratio=2, closing=KEPT["closing"])
    assert np.allclose(compute(batch_of(KEPT["ids"], KEPT["second"]), how), np.array(expected), atol=1e-5)


def _tensors(folder: Path) -> dict[str, NDArray[np.float32]]:
    import safetensors.numpy

    return dict(safetensors.numpy.load_file(str(folder / "model.safetensors")))

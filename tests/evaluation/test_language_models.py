"""Legs of language-model embedders: tasks by name, worked examples, adapters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto import Embedder
from lagotto.cards.registry import find_card
from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.encoding import encode_documents, encode_queries, leg_wording
from lagotto.evaluation.instructions import TaskHint, Wording, takes_instructions, wording
from lagotto.evaluation.pipeline import DenseLeg
from lagotto.evaluation.pipeline_file import read_pipelines
from support.adapters import write_adapter
from support.language_models import write_language_model

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = [{"instruct": "find", "query": "who", "response": "the dog"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("model") / "mistral")


def test_worked_examples_of_a_leg(bench, data, folder, tmp_path):
    file = tmp_path / "examples.json"
    file.write_text(json.dumps(EXAMPLES))
    leg = DenseLeg(str(folder), card="BAAI/bge-en-icl", query_instruction="find", query_examples=str(file))
    found = encode_queries(bench, leg, data, {"dense"})
    plain = encode_queries(bench, replace(leg, query_examples=None), data, {"dense"})
    documents = encode_documents(bench, leg, data, {"dense"})
    texts = list(data.queries.values())
    with Embedder(folder, card="BAAI/bge-en-icl", precision="f32", threads=1, device="cpu") as model:
        expected = model.encode_queries(texts, instruction="find", examples=EXAMPLES)
        np.testing.assert_allclose(whole(found), expected.dense, atol=1e-5)
        np.testing.assert_allclose(whole(plain), model.encode_queries(texts, instruction="find").dense, atol=1e-5)
        expected = model.encode_documents(list(data.corpus.texts()))
        np.testing.assert_allclose(whole(documents), expected.dense, atol=1e-5)
    file.write_text(json.dumps([{"query": 3}]))
    with pytest.raises(InvalidInputError, match=r"examples\.json: no examples can be read"):
        encode_queries(bench, leg, data, {"dense"})


def whole(encoded) -> np.ndarray:
    return np.concatenate([block for _, block in encoded.dense.blocks()])


def test_a_legs_task_has_words_for_both_sides(bench, data, tiny_bert):
    leg = DenseLeg(str(tiny_bert), card="BAAI/llm-embedder", task="tool")
    model = bench.embedder(leg)
    assert leg_wording(leg, model, data.task, "query") == Wording("query", task="tool")
    assert leg_wording(leg, model, data.task, "document") == Wording("document", task="tool")
    prompted = replace(leg, query_prompt="x: ")
    assert leg_wording(prompted, model, data.task, "query") == Wording("query", prompt="x: ")


def test_adapters_are_models_of_their_own(bench, folder, tmp_path):
    leg = DenseLeg(str(folder), pooling="last_token")
    adapter = write_adapter(tmp_path / "adapter", str(folder), {"layers.0.self_attn.q_proj": (32, 32)})
    base, adapted = bench.embedder(leg), bench.embedder(replace(leg, adapter=str(adapter)))
    assert base.fingerprint != adapted.fingerprint
    assert bench.embedder(replace(leg, dimensions=8)) is base


def test_a_pipeline_file_says_them(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(
        '[[system]]\nname = "a"\n[[system.leg]]\ntype = "dense"\nmodel = "m"\ntask = "qa"\nadapter = "lora"\n'
        'query_examples = "e.json"\n'
    )
    (system,) = read_pipelines(path)
    (leg,) = system.legs
    assert isinstance(leg, DenseLeg)
    assert (leg.task, leg.adapter, leg.query_examples) == ("qa", "lora", "e.json")


def test_llaras_prompt_is_no_instruction_that_a_benchmark_may_replace():
    llara, gemma = find_card("BAAI/LLARA-passage"), find_card("BAAI/bge-multilingual-gemma2")
    assert llara is not None
    assert gemma is not None
    hint = TaskHint("NFCorpus", "Retrieval", "Given a question, find documents")
    assert wording(llara, hint, "query") == Wording("query")
    assert wording(gemma, hint, "query") == Wording("query", instruction=hint.instruction)
    assert (takes_instructions(llara), takes_instructions(gemma)) == (False, True)

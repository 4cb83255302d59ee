"""Pipeline files: what they may say, what they may not, and that a description says all of it."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.core.errors import ConfigError
from lagotto.core.quantize import Quantization
from lagotto.evaluation.pipeline import (
    Bm25Leg,
    DenseLeg,
    Fusion,
    MultiVectorLeg,
    Rerank,
    Rescore,
    SparseLeg,
    System,
)
from lagotto.evaluation.pipeline_file import read_pipelines
from lagotto.search.fusion import Method, Scaling

EVERYTHING = """
[[system]]
name = "hybrid, reranked"
top_k = 100

[[system.leg]]
type = "dense"
model = "BAAI/bge-base-en-v1.5"
dimensions = 256
quantization = "int8"
rescore = 200
query_prompt = "q: "
document_prompt = "d: "
query_instruction = "Find it"
task = "qa"
query_examples = "examples.json"
adapter = "lora"
precision = "f32"
max_length = 128
revision = "main"
card = "BAAI/bge-m3"
pooling = "mean"

[[system.leg]]
type = "bm25"
language = "zh"
k1 = 0.9
b = 0

[[system.leg]]
type = "sparse"
model = "BAAI/bge-m3"
query_prompt = "q: "
document_prompt = "d: "
query_instruction = "Find it"
task = "qa"
query_examples = "examples.json"
adapter = "lora"
precision = "f32"
max_length = 128
revision = "main"
card = "BAAI/bge-m3"
pooling = "cls"

[[system.leg]]
type = "multivector"
model = "BAAI/bge-m3"
query_prompt = "q: "
document_prompt = "d: "
query_instruction = "Find it"
task = "qa"
query_examples = "examples.json"
adapter = "lora"
precision = "f32"
max_length = 128
revision = "main"
card = "BAAI/bge-m3"
pooling = "cls"

[system.fusion]
method = "weighted"
weights = [0.7, 3, 0, 1.5]
rrf_k = 10
scaling = "z_score"

[system.rescore]
model = "BAAI/bge-m3"
weights = [0.15, 0.5, 0.35]
top_k = 150
query_prompt = "q: "
document_prompt = "d: "
query_instruction = "Find it"
task = "qa"
query_examples = "examples.json"
adapter = "lora"
precision = "f32"
max_length = 128
revision = "main"
card = "BAAI/bge-m3"
pooling = "cls"

[system.rerank]
model = "BAAI/bge-reranker-base"
top_k = 50
max_windows = 1
precision = "bf16"
max_length = 512
revision = "v1"
card = "BAAI/bge-reranker-large"
adapter = "lora"
cutoff_layer = 28
compress_layers = [16, 24]
compress_ratio = 2
instruction = "Find"
prompt = "Is it?"

[[system]]
name = "words"
leg = [{ type = "bm25" }]
"""


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "pipelines.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_pipelines(path)

    return from_text


def one(**parts):
    """A system of one BM25 leg, with parts of it changed, as TOML."""
    rows = {"name": '"x"', "leg": '[{type = "bm25"}]', **parts}
    return "[[system]]\n" + "".join(f"{key} = {value}\n" for key, value in rows.items() if value)


def as_toml(value):
    """A value as TOML writes it, tables inline; TOML's strings and numbers are JSON's."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def test_every_key(read):
    full, words = read(EVERYTHING)
    dense = DenseLeg(
        "BAAI/bge-base-en-v1.5",
        dimensions=256,
        quantization="int8",
        rescore=200,
        query_prompt="q: ",
        document_prompt="d: ",
        query_instruction="Find it",
        task="qa",
        query_examples="examples.json",
        adapter="lora",
        precision="f32",
        max_length=128,
        revision="main",
        card="BAAI/bge-m3",
        pooling="mean",
    )
    rerank = Rerank(
        "BAAI/bge-reranker-base",
        top_k=50,
        max_windows=1,
        precision="bf16",
        max_length=512,
        revision="v1",
        card="BAAI/bge-reranker-large",
        adapter="lora",
        cutoff_layer=28,
        compress_layers=(16, 24),
        compress_ratio=2,
        instruction="Find",
        prompt="Is it?",
    )
    told = {
        "query_prompt": "q: ",
        "document_prompt": "d: ",
        "query_instruction": "Find it",
        "task": "qa",
        "query_examples": "examples.json",
        "adapter": "lora",
        "precision": "f32",
        "max_length": 128,
        "revision": "main",
        "card": "BAAI/bge-m3",
        "pooling": "cls",
    }
    m3 = "BAAI/bge-m3"
    legs = (dense, Bm25Leg("zh", 0.9, 0), SparseLeg(m3, **told), MultiVectorLeg(m3, **told))
    fusion = Fusion("weighted", (0.7, 3, 0, 1.5), 10, "z_score")
    rescore = Rescore(m3, **told, weights=(0.15, 0.5, 0.35), top_k=150)
    assert full == System("hybrid, reranked", legs, fusion, rerank, 100, rescore)
    assert words == System("words", (Bm25Leg(),))


def test_every_field_has_a_key_that_the_file_above_sets(read):
    full = read(EVERYTHING)[0]
    plain = (DenseLeg(""), Bm25Leg(), SparseLeg(""), MultiVectorLeg(""), Fusion(), Rescore(""), Rerank(""))
    for part, bare in zip((*full.legs, full.fusion, full.rescore, full.rerank), plain, strict=True):
        names = [field.name for field in fields(part)]
        assert names
        assert [name for name in names if getattr(part, name) == getattr(bare, name)] == []


def test_defaults(read):
    text = one(leg='[{type = "dense", model = "m"}, {type = "bm25"}]', fusion="{}", rerank='{model = "r"}')
    assert read(text) == (System("x", (DenseLeg("m"), Bm25Leg()), Fusion(), Rerank("r")),)
    system = read(text)[0]
    assert (system.top_k, system.rerank.top_k, system.rerank.max_windows) == (1000, 100, 10)
    assert (system.fusion.method, system.fusion.rrf_k, system.fusion.scaling) == ("rrf", 60, "min_max")


def test_a_reranker_alone(read):
    assert read(one(leg=None, rerank='{model = "r"}')) == (System("x", (), rerank=Rerank("r")),)
    assert read(one(leg="[]", rerank='{model = "r"}'))[0].legs == ()


def test_a_file_of_windows(read):
    assert read(("\ufeff" + EVERYTHING).replace("\n", "\r\n").encode()) == read(EVERYTHING)


def test_a_system_without_a_name_is_called_by_its_place(read, tmp_path):
    assert read(one(name=None))[0].name == f"{tmp_path / 'pipelines.toml'}, system 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds nothing; a pipeline file is made of"),
        ("system = []", "holds system; a pipeline file is made of"),
        ('[system]\nname = "x"', r"holds system; a pipeline file is made of \[\[system\]\] tables"),
        ("system = 5", "a pipeline file is made of"),
        ("system = [5]", "system 1 is 5, expected a table"),
        ("[[systems]]", "holds systems; a pipeline file is made of"),
        (one() + "[other]\n", "holds other, system; a pipeline file is made of"),
        ("[[system]", "not valid TOML"),
        (one() + 'name = "y"', "not valid TOML"),
        (b'[[system]]\nname = "\xff"', "not valid TOML: 'utf-8' codec"),
        (one(legs="[]"), r"system 1: unknown keys \['legs'\]; known are name, top_k, leg, fusion, rescore, rerank"),
        (one(name="5"), "system 1: name is 5; expected str"),
        (one(name='" "'), "system 1: a system has no name"),
        (one(top_k='"10"'), "system 1: top_k is '10'; expected int"),
        (one(top_k="true"), "system 1: top_k is True; expected int"),
        (one(top_k="10.0"), "system 1: top_k is 10.0; expected int"),
        (one(top_k="0"), "top_k is 0; give an integer of at least 1"),
        (one(leg=None), r"system 'x' has no \[\[system\.leg\]\] that retrieves anything"),
        (one(leg='{type = "bm25"}'), "system 1: leg is .*, expected a list"),
        (one(leg="[5]"), "system 1: leg is 5, expected a table"),
        (one(leg="[{}]"), "leg type is None; allowed are dense, sparse, multivector, bm25"),
        (one(leg='[{type = "spars"}]'), "leg type is 'spars'; allowed are dense, sparse, multivector, bm25"),
        (one(leg='[{type = ["dense"]}]'), r"leg type is \['dense'\]; allowed are"),
        (one(leg='[{type = "dense"}]'), "dense leg: no model; name a folder, a hub id or starter:NAME"),
        (one(leg='[{type = "dense", model = ""}]'), "dense leg: no model"),
        (one(leg='[{type = "dense", model = 5}]'), "dense leg: model is 5; expected str"),
        (
            one(leg='[{type = "dense", modell = "m"}]'),
            r"dense leg: unknown keys \['modell'\]; known are model, query_prompt",
        ),
        (one(leg='[{type = "dense", model = "m", dimensions = true}]'), "dimensions is True; expected int"),
        (one(leg='[{type = "dense", model = "m", dimensions = 0}]'), "dimensions is 0; give an integer of at least 1"),
        (one(leg='[{type = "dense", model = "m", quantization = "int4"}]'), "quantization is 'int4'; allowed are f32"),
        (one(leg='[{type = "dense", model = "m", rescore = -1}]'), "rescore is -1; give an integer of at least 0"),
        (one(leg='[{type = "dense", model = "m", max_length = 0}]'), "max_length is 0; give an integer of at least 1"),
        (one(leg='[{type = "dense", model = "m", query_prompt = 5}]'), "query_prompt is 5; expected str"),
        (one(leg='[{type = "bm25", k1 = "high"}]'), "bm25 leg: k1 is 'high'; expected int or float"),
        (one(leg='[{type = "bm25", k1 = false}]'), "bm25 leg: k1 is False; expected int or float"),
        (one(leg='[{type = "bm25", k1 = -0.5}]'), "k1 is -0.5; give 0 or more"),
        (one(leg='[{type = "bm25", k1 = nan}]'), "k1 is nan"),
        (one(leg='[{type = "bm25", b = 1.5}]'), "b is 1.5; give a number from 0 to 1"),
        (one(leg='[{type = "bm25", language = "klingon"}]'), "language 'klingon' is not one that texts"),
        (one(leg='[{type = "bm25", model = "m"}]'), r"bm25 leg: unknown keys \['model'\]; known are language, k1, b"),
        (
            one(leg='[{type = "bm25"}, {type = "bm25"}]'),
            r"system 'x' has 2 legs; say in \[system\.fusion\] how to fuse",
        ),
        (one(fusion='"rrf"'), "fusion is 'rrf', expected a table"),
        (one(fusion="[]"), r"fusion is \[\], expected a table"),
        (one(fusion='{how = "rrf"}'), r"fusion: unknown keys \['how'\]; known are method, weights, rrf_k, scaling"),
        (one(fusion='{method = "sum"}'), "fusion method is 'sum'; allowed are rrf, weighted"),
        (one(fusion="{method = 5}"), "fusion: method is 5; expected str"),
        (one(fusion='{scaling = "softmax"}'), "scaling is 'softmax'; allowed are min_max, z_score, none"),
        (one(fusion="{rrf_k = -1}"), "rrf_k is -1; give 0 or more"),
        (one(fusion="{rrf_k = 60.5}"), "rrf_k is 60.5; expected int"),
        (one(fusion="{weights = 0.5}"), "weights is 0.5, expected a list"),
        (one(fusion="{weights = [0.5, 0.5]}"), "2 weights for 1 legs; give one a leg"),
        (one(fusion="{weights = []}"), r"weights are \[\]; give 1 numbers"),
        (one(fusion='{weights = ["1"]}'), r"weights are \['1'\]; give 1 numbers of at least 0"),
        (one(fusion="{weights = [true]}"), r"weights are \[True\]"),
        (one(fusion="{weights = [-1]}"), "weights are"),
        (one(fusion="{weights = [nan]}"), "weights are"),
        (one(leg='[{type = "sparse"}]'), "sparse leg: no model; name a folder"),
        (
            one(leg='[{type = "sparse", model = "m", dimensions = 8}]'),
            r"sparse leg: unknown keys \['dimensions'\]; known are model, query_prompt",
        ),
        (one(leg='[{type = "multivector", model = "m", max_length = 0}]'), "max_length is 0; give an integer"),
        (one(rescore="5"), "rescore is 5, expected a table"),
        (one(rescore="{}"), "rescore: no model"),
        (one(rescore='{model = "m", weights = 1}'), "weights is 1, expected a list"),
        (one(rescore='{model = "m", weights = [1, 2]}'), r"weights are \[1, 2\]; give three numbers of at least 0"),
        (one(rescore='{model = "m", weights = [0, 0, 0]}'), "not all 0"),
        (one(rescore='{model = "m", weights = [1, -1, 1]}'), "give three numbers"),
        (one(rescore='{model = "m", weights = [1, nan, 1]}'), "give three numbers"),
        (one(rescore='{model = "m", weights = [1, inf, 1]}'), "give three numbers"),
        (one(rescore='{model = "m", weights = ["1", 1, 1]}'), "give three numbers"),
        (one(rescore='{model = "m", weights = [true, 1, 1]}'), "give three numbers"),
        (one(rescore='{model = "m", top_k = 0}'), "rescore top_k is 0; give an integer of at least 1"),
        (one(rescore='{model = "m", max_length = 0}'), "rescore max_length is 0"),
        (one(rescore='{model = "m", dimensions = 8}'), r"rescore: unknown keys \['dimensions'\]"),
        (
            one(leg=None, rescore='{model = "m"}', rerank='{model = "r"}'),
            r"system 'x' has hits to rescore and no \[\[system\.leg\]\]",
        ),
        (one(rerank='"r"'), "rerank is 'r', expected a table"),
        (one(rerank="{}"), "rerank: no model"),
        (
            one(rerank='{model = "r", depth = 5}'),
            r"rerank: unknown keys \['depth'\]; known are model, top_k, max_windows",
        ),
        (one(rerank='{model = "r", top_k = 0}'), "rerank top_k is 0; give an integer of at least 1"),
        (one(rerank='{model = "r", max_windows = 0}'), "max_windows is 0; give an integer of at least 1"),
        (one(rerank='{model = "r", max_length = -1}'), "rerank max_length is -1"),
        (one() + one(top_k="0"), "system 2: system 'x': top_k is 0"),
    ],
)
def test_what_a_file_may_not_say(read, tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        read(text)
    assert str(raised.value).startswith(str(tmp_path / "pipelines.toml"))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.toml"):
        read_pipelines(tmp_path / "none.toml")


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
SOME = st.none() | TEXTS
COUNTS = st.integers(1, 10_000)
WEIGHTS = st.floats(0, 100, allow_subnormal=False) | st.integers(0, 5)
PROMPTS = st.none() | TEXTS | st.just("")
ENCODER = {
    "query_prompt": PROMPTS,
    "document_prompt": PROMPTS,
    "query_instruction": SOME,
    "task": SOME,
    "query_examples": SOME,
    "adapter": SOME,
    "precision": SOME,
    "max_length": st.none() | COUNTS,
    "revision": SOME,
    "card": SOME,
    "pooling": SOME,
}
LEGS = st.one_of(
    st.builds(Bm25Leg, st.sampled_from(["auto", "en", "zh", "und"]), st.floats(0, 9), st.floats(0, 1)),
    st.builds(
        DenseLeg,
        TEXTS,
        **ENCODER,
        dimensions=st.none() | COUNTS,
        quantization=st.sampled_from(Quantization.__args__),
        rescore=st.integers(0, 500),
    ),
    st.builds(SparseLeg, TEXTS, **ENCODER),
    st.builds(MultiVectorLeg, TEXTS, **ENCODER),
)
RESCORES = st.builds(Rescore, TEXTS, **ENCODER, weights=st.tuples(*[WEIGHTS] * 3).filter(sum), top_k=COUNTS)
RERANKS = st.builds(Rerank, TEXTS, COUNTS, COUNTS, SOME, st.none() | COUNTS, SOME, SOME)


@st.composite
def systems(draw):
    legs = tuple(draw(st.lists(LEGS, min_size=1, max_size=3)))
    weights = draw(st.none() | st.tuples(*[WEIGHTS] * len(legs)).filter(sum))
    fusion = st.builds(
        Fusion, st.sampled_from(Method.__args__), st.just(weights), COUNTS, st.sampled_from(Scaling.__args__)
    )
    fused = draw(fusion if len(legs) > 1 else st.none() | fusion)
    rerank, rescore = draw(st.none() | RERANKS), draw(st.none() | RESCORES)
    return System(draw(TEXTS.filter(str.strip)), legs, fused, rerank, draw(COUNTS), rescore)


@given(system=systems())
def test_a_description_reads_back_to_the_same_system(tmp_path_factory, system):
    path = tmp_path_factory.mktemp("described") / "p.toml"
    rows = {"name": system.name, **system.describe()}
    path.write_text(as_toml({"system": [rows]})[1:-1], encoding="utf-8")
    assert read_pipelines(path) == (system,)

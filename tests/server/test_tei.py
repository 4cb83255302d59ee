"""TEI's dialect: every route of it, with and without its prefix, and its statuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import lagotto
from lagotto import Embedder, Reranker

TEXTS = ["a dog is an animal", "the giant panda", "paris"]
LONG = "paris " + "panda " * 100 + "water"
FINE = 2e-5
PREFIXES = pytest.mark.parametrize("prefix", ["", "/tei"])


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


@PREFIXES
def test_embed_gives_lists_of_numbers_by_the_first_embedder(
    client: TestClient, embedder: Embedder, prefix: str
) -> None:
    expected = embedder.encode(TEXTS).dense
    np.testing.assert_allclose(post(client, f"{prefix}/embed", inputs=TEXTS), expected, atol=FINE)
    np.testing.assert_allclose(post(client, f"{prefix}/embed", inputs=TEXTS[0]), expected[:1], atol=FINE)
    cut = post(client, f"{prefix}/embed", inputs=TEXTS, dimensions=8)
    np.testing.assert_allclose(cut, embedder.encode(TEXTS, dimensions=8).dense, atol=FINE)
    raw = post(client, f"{prefix}/embed", inputs=TEXTS, normalize=False)
    np.testing.assert_allclose(raw, embedder.encode(TEXTS, normalize=False).dense, atol=1e-4)


def test_a_model_may_be_named_in_the_address(client: TestClient) -> None:
    first, named, other = (
        post(client, f"/embed{query}", inputs="a dog") for query in ("", "?model=bert", "?model=org/xlmr:1")
    )
    assert first == named
    assert not np.allclose(first, other)
    assert post(client, "/embed?model=none", 404, inputs="a")["error_type"] == "Validation"
    assert post(client, "/embed?model=ranker", 422, inputs="a")["error_type"] == "Validation"


def test_prompts_are_found_by_name(m3: TestClient, m3_model: Embedder) -> None:
    for name, prompt in (("query", "query: "), ("document", "passage: "), ("what", "what is ")):
        found = post(m3, "/embed", inputs=TEXTS, prompt_name=name)
        np.testing.assert_allclose(found, m3_model.encode(TEXTS, prompt=prompt).dense, atol=FINE)
    error = post(m3, "/embed", 422, inputs="a", prompt_name="none")
    assert error["error"].endswith("Available prompts: [document, query, what]")
    assert "prompt" in post(m3, "/embed", 422, inputs=[[0, 20, 2]], prompt_name="what")["error"]


@pytest.mark.parametrize(("direction", "side"), [("Left", "left"), ("right", "right"), (None, "right")])
def test_long_texts_are_cut_when_that_is_asked_for(
    client: TestClient, embedder: Embedder, direction: Any, side: Any
) -> None:
    wish = {} if direction is None else {"truncation_direction": direction}
    reply = client.post("/embed", json={"inputs": ["a", LONG], "truncate": True, **wish})
    np.testing.assert_allclose(reply.json(), embedder.encode(["a", LONG], truncation=side).dense, atol=FINE)
    assert reply.headers["x-lagotto-truncated"] == "1"


def test_long_texts_are_refused_otherwise_unless_the_operator_says_so(
    client: TestClient, open_client: Any, tiny_bert: Any
) -> None:
    for wish in ({}, {"truncate": False}):
        error = post(client, "/embed", 422, inputs=LONG, **wish)
        assert error["error_type"] == "Validation"
    with open_client(models=[f"bert={tiny_bert}"], auto_truncate=True) as automatic:
        post(automatic, "/embed", inputs=LONG)
        post(automatic, "/embed", 422, inputs=LONG, truncate=False)


@PREFIXES
def test_embed_all_gives_the_last_states_of_all_tokens(client: TestClient, embedder: Embedder, prefix: str) -> None:
    found = post(client, f"{prefix}/embed_all", inputs=TEXTS)
    assert [len(matrix) for matrix in found] == embedder.encode(TEXTS).tokens.tolist()
    cls = np.array([matrix[0] for matrix in found])
    np.testing.assert_allclose(cls, embedder.encode(TEXTS, normalize=False).dense, atol=1e-4)


@PREFIXES
def test_embed_sparse_gives_weights_of_ids(m3: TestClient, m3_model: Embedder, prefix: str) -> None:
    found = post(m3, f"{prefix}/embed_sparse", inputs=TEXTS, prompt_name="what")
    sparse = m3_model.encode(TEXTS, outputs=("sparse",), prompt="what is ").sparse
    assert sparse is not None
    for row, expected in zip(found, sparse, strict=True):
        assert {item["index"]: pytest.approx(item["value"], abs=FINE) for item in row} == expected


def test_sparse_weights_of_a_model_without_them_and_states_of_token_ids_are_refused(client: TestClient) -> None:
    assert "only dense" in post(client, "/embed_sparse", 422, inputs="a")["error"]
    assert "send texts" in post(client, "/embed_all", 422, inputs=[[2, 20, 3]])["error"]


@pytest.mark.parametrize("path", ["/rerank", "/tei/rerank", "/"])
def test_rerank_orders_texts(client: TestClient, ranker: Reranker, path: str) -> None:
    expected = ranker.rank("panda", TEXTS)
    found = post(client, path, query="panda", texts=TEXTS)
    assert [hit["index"] for hit in found] == [hit.index for hit in expected]
    np.testing.assert_allclose([hit["score"] for hit in found], [hit.score for hit in expected], atol=FINE)
    assert set(found[0]) == {"index", "score"}
    full = post(client, path, query="panda", texts=TEXTS, return_text=True, raw_scores=True)
    assert [hit["text"] for hit in full] == [hit.text for hit in expected]
    raw = ranker.rank("panda", TEXTS, normalize=False)
    np.testing.assert_allclose([hit["score"] for hit in full], [hit.score for hit in raw], atol=1e-4)


@PREFIXES
def test_predict_scores_pairs(client: TestClient, ranker: Reranker, prefix: str) -> None:
    pairs = [["panda", text] for text in TEXTS]
    expected = ranker.score([("panda", text) for text in TEXTS], normalize=True)
    found = post(client, f"{prefix}/predict", inputs=pairs)
    np.testing.assert_allclose([rows[0]["score"] for rows in found], expected.scores, atol=FINE)
    assert found[0][0]["label"] == "LABEL_0"
    assert post(client, f"{prefix}/predict", inputs=pairs[0]) == found[0]
    for wrong in ("a", [["a"]], [["a", "b"], ["a", "b", "c"]], ["a", "b", "c"]):
        assert "pair" in post(client, f"{prefix}/predict", 422, inputs=wrong)["error"]


@pytest.mark.parametrize("path", ["/similarity", "/tei/similarity", "/"])
def test_similarity_compares_a_sentence_with_others(client: TestClient, embedder: Embedder, path: str) -> None:
    found = post(client, path, inputs={"source_sentence": "a panda", "sentences": TEXTS})
    expected = embedder.similarity(embedder.encode("a panda"), embedder.encode(TEXTS))[0]
    np.testing.assert_allclose(found, expected, atol=FINE)
    body = {"inputs": {"source_sentence": LONG, "sentences": ["a", LONG]}, "parameters": {"truncate": True}}
    assert client.post(path, json=body).headers["x-lagotto-truncated"] == "1"


@PREFIXES
def test_tokenize_tells_ids_texts_and_places(client: TestClient, prefix: str) -> None:
    ((first, *tokens, last),) = post(client, f"{prefix}/tokenize", inputs="Giant pandas")
    assert first == {"id": 2, "text": "[CLS]", "special": True, "start": None, "stop": None}
    assert (last["text"], last["special"]) == ("[SEP]", True)
    assert [(t["text"], t["start"], t["stop"], t["special"]) for t in tokens] == [
        ("Giant", 0, 5, False),
        ("panda", 6, 11, False),
        ("s", 11, 12, False),
    ]
    bare = post(client, f"{prefix}/tokenize", inputs=["Giant pandas", "a"], add_special_tokens=False)
    assert bare[0] == tokens
    assert len(bare) == 2


def test_tokenize_and_info_know_rerankers_too(client: TestClient, open_client: Any, tiny_reranker: Any) -> None:
    assert len(post(client, "/tokenize?model=ranker", inputs="a dog")[0]) == 4
    assert post(client, "/tokenize?model=none", 404, inputs="a")
    with open_client(models=[f"ranker={tiny_reranker}"]) as alone:
        assert alone.get("/info").json()["model_id"] == "ranker"
        assert "no embedder" in post(alone, "/embed", 422, inputs="a")["error"]


@PREFIXES
def test_decode_is_the_way_back(client: TestClient, prefix: str) -> None:
    ids = [token["id"] for token in post(client, "/tokenize", inputs="the giant panda")[0]]
    assert post(client, f"{prefix}/decode", ids=ids) == ["the giant panda"]
    assert post(client, f"{prefix}/decode", ids=[ids, ids[1:2]], skip_special_tokens=False) == [
        "[CLS] the giant panda [SEP]",
        "the",
    ]
    assert "vocabulary" in post(client, f"{prefix}/decode", 422, ids=[99999])["error"]


@pytest.mark.parametrize("path", ["/info", "/tei/info"])
def test_info_describes_the_model_that_answers(client: TestClient, path: str) -> None:
    body = client.get(path).json()
    assert (body["model_id"], body["model_type"]) == ("bert", {"embedding": {"pooling": "cls"}})
    assert (body["model_dtype"], body["max_input_length"], body["version"]) == ("float32", 64, lagotto.__version__)
    other = client.get(f"{path}?model=ranker").json()
    assert other["model_type"] == {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}


@pytest.mark.parametrize("path", ["/", "/ping", "/tei/ping", "/tei/health"])
def test_it_is_alive(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert (reply.status_code, reply.content) == (200, b"")


def test_the_bare_address_embeds(client: TestClient) -> None:
    assert post(client, "/", inputs=TEXTS) == post(client, "/embed", inputs=TEXTS)


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/embed", {"inputs": ""}, 400, "Empty"),
        ("/embed", {"inputs": []}, 400, "Empty"),
        ("/embed", {"inputs": 5}, 422, "Validation"),
        ("/embed", {}, 422, "Validation"),
        ("/embed", {"inputs": "a", "truncation_direction": "up"}, 422, "Validation"),
        ("/embed", {"inputs": "a", "dimensions": 99}, 422, "Validation"),
        ("/embed", {"inputs": [20, 30]}, 422, "Validation"),
        ("/", {"inputs": 5}, 422, "Validation"),
        ("/", {"query": 5, "texts": []}, 422, "Validation"),
        ("/rerank", {"query": "a", "texts": []}, 400, "Empty"),
        ("/rerank", {"query": "a", "texts": ["a"], "top_n": 1}, 422, "Validation"),
        ("/rerank", {"query": "a", "texts": ["a"] * 3000}, 422, "Validation"),
        ("/similarity", {"inputs": {"source_sentence": "", "sentences": ["a"]}}, 400, "Empty"),
        ("/tei/nowhere", {}, 404, "Validation"),
    ],
)
def test_errors_have_teis_statuses(client: TestClient, path: str, body: Any, status: int, kind: str) -> None:
    error = post(client, path, status, **body)
    assert set(error) == {"error", "error_type"}
    assert error["error_type"] == kind


def test_a_body_over_the_limit_is_refused_in_teis_shape(open_client: Any, tiny_bert: Any) -> None:
    with open_client(models=[f"bert={tiny_bert}"], max_body_bytes=1024) as small:
        assert post(small, "/embed", 413, inputs="a" * 2000)["error_type"] == "Validation"


def test_a_failure_of_the_model_is_424(open_client: Any, tiny_bert: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_client(models=[f"bert={tiny_bert}"]) as client:
        monkeypatch.setattr(Embedder, "encode", lambda *_, **__: 1 / 0)
        assert post(client, "/embed", 424, inputs="a")["error_type"] == "Backend"

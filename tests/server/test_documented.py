"""docs/server.md and docs/dialects.md tell every setting, route, field and error code, and nothing that is not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from lagotto.core import errors
from lagotto.server.call import PRIORITY, TIMEOUT
from lagotto.server.dialects.schemas import base, cohere, infinity, jina, native, openai, shared, tei, vllm, voyage
from lagotto.server.dialects.schemas.scoring import Scored
from lagotto.server.settings import Settings, load_settings

DOCS = Path(__file__).parents[2] / "docs"
if not (DOCS / "server.md").is_file():
    pytest.skip("no docs here: these tests belong to the repository", allow_module_level=True)
TEXT, DIALECTS = ((DOCS / name).read_text(encoding="utf-8") for name in ("server.md", "dialects.md"))


def section(title: str) -> str:
    """What stands below a heading of either page, up to the next of its rank or above."""
    mark = title.partition(" ")[0]
    page = next(text for text in (TEXT, DIALECTS) if f"\n{title}\n" in text)
    return re.split(rf"(?m)^#{{1,{len(mark)}}} ", page.partition(f"\n{title}\n")[2])[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of tables, headings left out."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def words(cell: str) -> list[str]:
    """What a cell shows as code."""
    return re.findall(r"`([^`]+)`", cell)


SETTINGS = {words(row[0])[0]: row for row in rows(section("## Settings"))}


def test_every_setting_is_told_and_no_other() -> None:
    assert set(SETTINGS) == set(Settings.model_fields)


@pytest.mark.parametrize("field", list(Settings.model_fields))
def test_a_settings_environment_names_and_default_are_told(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    info = Settings.model_fields[field]
    _, _, names, default, meaning = SETTINGS[field]
    choices = () if info.validation_alias is None else info.validation_alias.choices  # type: ignore[union-attr]
    assert set(words(names)) == {str(name) for name in choices}
    shown = words(default)
    if shown:
        monkeypatch.delenv("LAGOTTO_CACHE", raising=False)
        value = getattr(load_settings(), field)
        whole = isinstance(value, float) and value.is_integer()
        assert shown == [json.dumps(int(value) if whole else value).strip('"')]
    else:
        assert info.default in (None, [])
    for choice in get_args(info.annotation):
        if isinstance(choice, str):
            assert f"`{choice}`" in meaning


def test_the_flags_told_are_those_of_the_command() -> None:
    from typer.main import get_command

    from lagotto.cli.main import app

    command: Any = get_command(app)
    flags = {flag for parameter in command.commands["serve"].params for flag in parameter.opts}
    told = {flag for row in SETTINGS.values() for flag in words(row[1])}
    assert told == flags - {"--config", "--help", "-h"}
    assert "`--config FILE`" in TEXT


def test_every_route_is_told(client: TestClient) -> None:
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in TEXT + DIALECTS
    for path in ("/docs", "/openapi.json"):
        assert f"`{path}`" in TEXT


def test_every_route_with_a_heading_has_an_example() -> None:
    for page in (TEXT, DIALECTS):
        for path in re.findall(r"(?m)^### .*?`(?:GET|POST) (/[^`{]*)", page):
            bare = path.removeprefix("/tei") if path == "/tei/rerank" else path
            assert re.search(rf"curl (?:-N )?'?http://127\.0\.0\.1:8000{re.escape(bare)}", page), path


def test_no_route_is_told_that_is_not_there(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    told = re.findall(r"`(GET|POST) (/\S*)`", TEXT + DIALECTS)
    assert len(told) > 50
    for method, path in told:
        assert method.lower() in paths[path]


BODIES: dict[str, Any] = {
    "/v1/encode": native.Encode,
    "/v1/embeddings": openai.OpenAIEmbeddings,
    "/v1/rerank": shared.SharedRerank,
    "/v2/embed": cohere.CohereEmbedV2,
    "/v1/embed": cohere.CohereEmbedV1,
    "/v2/rerank": cohere.CohereRerankV2,
    "/cohere/v1/rerank": cohere.CohereRerankV1,
    "/jina/v1/embeddings": jina.JinaEmbeddings,
    "/jina/v1/rerank": jina.JinaRerank,
    "/voyage/v1/embeddings": voyage.VoyageEmbeddings,
    "/voyage/v1/rerank": voyage.VoyageRerank,
    "/embed": tei.TeiEmbed,
    "/embed_all": tei.TeiEmbedAll,
    "/embed_sparse": tei.TeiEmbedSparse,
    "/tei/rerank": tei.TeiRerank,
    "/predict": tei.TeiPredict,
    "/similarity": tei.TeiSimilarity,
    "/tokenize": tei.TeiTokenize,
    "/decode": tei.TeiDecode,
    "/score": vllm.VllmScore,
    "/vllm/classify": vllm.VllmClassify,
    "/vllm/rerank": vllm.VllmRerank,
    "/pooling": vllm.VllmPooling,
    "/embeddings": infinity.InfinityEmbeddings,
    "/infinity/rerank": infinity.InfinityRerank,
    "/infinity/classify": infinity.InfinityClassify,
}


@pytest.mark.parametrize("path", BODIES)
def test_every_field_of_a_request_is_told_and_no_other(path: str) -> None:
    model = BODIES[path]
    told = {words(row[0])[0]: row[1] for row in rows(section(f"### `POST {path}`"))}
    fields = {name for name in model.model_fields if not issubclass(model, Scored) or name not in Scored.model_fields}
    assert set(told) == fields
    assert {name for name, meaning in told.items() if meaning.endswith("required")} == {
        name for name, field in model.model_fields.items() if field.is_required()
    }


def test_the_fields_of_llm_rerankers_are_told_once() -> None:
    told = [words(row[0])[0] for row in rows(section("### Fields of LLM rerankers"))]
    assert told == list(Scored.model_fields)
    ranking = [path for path, model in BODIES.items() if issubclass(model, Scored)]
    assert sorted(ranking) == sorted(path for path in BODIES if re.search("rerank|score|predict|classify", path))


def test_every_kind_of_body_is_told() -> None:
    modules = (cohere, infinity, jina, native, openai, shared, tei, vllm, voyage)
    found = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    parts = {
        cohere.CohereInput,
        tei.TeiRequest,
        tei.TeiSimilarityInputs,
        tei.TeiSimilarityParameters,
        base.Request,
        Scored,
    }
    assert {kind for kind in found if issubclass(kind, base.Request)} - parts == set(BODIES.values())


def test_every_reply_shown_has_the_keys_of_a_real_one(client: TestClient, m3: TestClient) -> None:
    real: dict[str, Any] = {
        "### `POST /v1/encode`": m3.post(
            "/v1/encode",
            json={"model": "m3", "input": ["a"], "outputs": ["dense", "sparse", "multivector"]},
        ),
        "### `POST /v1/embeddings`": client.post("/v1/embeddings", json={"model": "bert", "input": ["a", "b"]}),
        "### `POST /v1/rerank`": client.post(
            "/v1/rerank", json={"query": "a", "documents": [{"text": "b", "page": 7}], "return_documents": True}
        ),
        "### `GET /v1/models`, `GET /v1/models/{name}`": client.get("/v1/models"),
        "### `GET /models`": client.get("/models"),
        "### `GET /config`": client.get("/config"),
        "### `GET /health`": client.get("/health"),
        "### `POST /admin/reload`": client.post("/admin/reload"),
        "### `GET /ready`": client.get("/ready"),
    }
    for title, reply in real.items():
        shown, got = json.loads(re.search(r"(?ms)^    (\{.*?\})\n\n", section(title)).group(1)), reply.json()  # type: ignore[union-attr]
        if title.endswith("encode`"):  # its weights are keyed by tokens
            shown["data"][0]["sparse"] = got["data"][0]["sparse"] = {}
        assert keys(shown) == keys(got), title


def keys(value: Any) -> Any:
    """The keys of a value, of a list only those of its first element."""
    if isinstance(value, dict):
        return {key: keys(inner) for key, inner in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_every_error_code_a_client_can_meet_is_told() -> None:
    told = {code for row in rows(section("## Errors")) for code in words(row[1])}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LagottoError)]
    known = {kind.code for kind in kinds} | {"request_too_large", "too_many_connections", "http_408", "http_431"}
    assert told <= known
    assert {kind.code for kind in kinds if kind.status < 500} <= told


def test_the_headers_of_a_request_are_told() -> None:
    for header in (PRIORITY, TIMEOUT, "retry-after", "retry-after-ms"):
        assert f"`{header}" in section("## Under load")

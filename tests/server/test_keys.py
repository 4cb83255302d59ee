"""API keys: who may come in, what for, and how much of it."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import Request
from starlette.testclient import TestClient

from lagotto.core.errors import AuthenticationError, ConfigError
from lagotto.server import keys as module
from lagotto.server.key_settings import KeySettings, digest_of
from lagotto.server.keys import KeyRing, presented_key
from lagotto.server.settings import Settings, load_settings

SECRETS = {"all": "lgt_a", "embedder": "lgt_e", "ranker": "lgt_r", "scraper": "lgt_m", "nobody": "lgt_n"}
SCOPES: dict[str, list[str]] = {
    "all": ["embed", "rerank", "admin", "metrics"],
    "embedder": ["embed"],
    "ranker": ["rerank"],
    "scraper": ["metrics"],
    "nobody": [],
}
EMBED = {"model": "bert", "input": "a dog"}
RERANK = {"query": "a", "documents": ["b"]}
OPEN = (
    "/health",
    "/ready",
    "/ping",
    "/tei/ping",
    "/tei/health",
    "/infinity/health",
    "/docs",
    "/openapi.json",
    "/docs/files/swagger-ui.css",
    "/",
    "/page/main.js",
)


def table(name: str, secret: str, **more: Any) -> KeySettings:
    return KeySettings(name=name, hash=digest_of(secret), **more)


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {SECRETS[name]}"}


@pytest.fixture(scope="module")
def locked(open_client: Any, tiny_bert: Path, tiny_reranker: Path) -> Iterator[TestClient]:
    keys = [table(name, secret, scopes=SCOPES[name]) for name, secret in SECRETS.items()]
    with open_client(models=[f"bert={tiny_bert}", f"ranker={tiny_reranker}"], key=keys) as client:
        yield client


@pytest.fixture
def limited(open_client: Any, tiny_bert: Path) -> Callable[..., Any]:
    """``limited(**limits)``: a client whose one key has these limits."""
    return lambda **limits: open_client(models=[f"bert={tiny_bert}"], key=[table("ci", "lgt_a", **limits)])


def denied(reply: httpx2.Response, status: int, code: str) -> str:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert error["code"] == code
    assert error["type"] == {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}[status]
    message: str = error["message"]
    return message


# Who.


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer lgt_a"},
        {"authorization": "bearer  lgt_a"},
        {"authorization": "lgt_a"},
        {"x-api-key": "lgt_a"},
        {"authorization": "Basic bm8=", "x-api-key": "lgt_a"},
    ],
)
def test_a_key_may_be_sent_in_several_ways(locked: TestClient, headers: dict[str, str]) -> None:
    assert locked.post("/v1/embeddings", json=EMBED, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic lgt_a"},
        {"authorization": "Bearer lgt_a extra"},
        {"authorization": "Bearer LGT_A"},
        {"x-api-key": ""},
        {"x-api-key": "lgt_"},
        {"authorization": "Bearer " + digest_of("lgt_a")},
        {"authorization": "Bearer \xff\xfe"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models", "/metrics", "/config", "/nowhere", "/models"])
def test_without_a_known_key_nothing_is_answered(locked: TestClient, headers: dict[str, str], path: str) -> None:
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    reply = locked.request("POST" if path == "/v1/embeddings" else "GET", path, headers=sent)
    denied(reply, 401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_a_stranger_is_refused_in_the_dialect_of_the_path(locked: TestClient) -> None:
    replies = {
        path: locked.post(path) for path in ("/v2/embed", "/voyage/v1/embeddings", "/embed", "/rerank", "/score")
    }
    assert {reply.status_code for reply in replies.values()} == {401}
    assert {reply.headers["www-authenticate"] for reply in replies.values()} == {"Bearer"}
    assert set(replies["/v2/embed"].json()) == {"message"}
    assert set(replies["/voyage/v1/embeddings"].json()) == {"detail"}
    assert replies["/embed"].content == b""
    assert set(replies["/rerank"].json()) == {"message", "detail", "error"}
    assert replies["/score"].json()["error"]["code"] == 401


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/encode", {"model": "bert", "input": "a"}),
        ("/embed", {"inputs": "a"}),
        ("/embed_all", {"inputs": "a"}),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
        ("/pooling", {"model": "bert", "input": "a"}),
        ("/infinity/embeddings", {"model": "bert", "input": "a"}),
        ("/jina/v1/embeddings", {"model": "bert", "input": ["a"]}),
        ("/rerank", {"query": "a", "texts": ["b"]}),
        ("/predict", {"inputs": ["a", "b"]}),
        ("/score", {"model": "ranker", "text_1": "a", "text_2": "b"}),
        ("/score", {"model": "bert", "text_1": "a", "text_2": "b"}),
        ("/classify", {"input": [["a", "b"]]}),
        ("/v2/rerank", {"model": "ranker", "query": "a", "documents": ["b"]}),
    ],
)
def test_every_dialect_s_routes_ask_for_their_scope(locked: TestClient, path: str, body: dict[str, Any]) -> None:
    embeds = body.get("model") == "bert" or not any(word in path for word in ("rank", "predict", "score", "classify"))
    found = {name: locked.post(path, json=body, headers=bearer(name)).status_code for name in SECRETS}
    assert found == {"all": 200, "embedder": 200 if embeds else 403, "ranker": 403 if embeds else 200} | {
        "scraper": 403,
        "nobody": 403,
    }


@pytest.mark.parametrize("name, status", [("embedder", 200), ("ranker", 200), ("nobody", 403)])
def test_tokens_are_told_to_whoever_may_use_a_model(locked: TestClient, name: str, status: int) -> None:
    assert locked.post("/tokenize", json={"inputs": "a dog"}, headers=bearer(name)).status_code == status


def test_a_stranger_s_body_is_not_even_read(locked: TestClient) -> None:
    reply = locked.post("/v1/embeddings", content=b"{not json", headers={"content-type": "application/json"})
    denied(reply, 401, "invalid_api_key")


@pytest.mark.parametrize("path", OPEN)
def test_probes_and_pages_are_open(locked: TestClient, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_an_open_path_opens_no_other(locked: TestClient) -> None:
    for path in ("/healthy", "/health/../config", "/docs/../config", "/docsx", "http://testserver//health"):
        assert locked.get(path).status_code in (401, 404)
        assert "models" not in locked.get(path).text


def test_without_keys_none_is_needed_and_any_is_taken(client: TestClient) -> None:
    assert client.post("/v1/embeddings", json=EMBED, headers={"authorization": "Bearer x"}).status_code == 200


def test_the_error_names_no_key_that_exists(locked: TestClient) -> None:
    text = locked.get("/config").text + locked.get("/config", headers={"x-api-key": "guess"}).text
    assert not any(name in text for name in SECRETS)
    assert "guess" not in text


def test_every_key_is_compared_whatever_the_first_says(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    compare = hmac.compare_digest

    def counting(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(module.hmac, "compare_digest", counting)
    ring = KeyRing(Settings(key=[table(name, secret) for name, secret in SECRETS.items()]))
    assert ring.find("lgt_a").name == "all"
    assert len(compared) == len(SECRETS)


def test_a_presented_key_is_found_in_headers_alone() -> None:
    assert presented_key([]) is None
    assert presented_key([(b"authorization", b"Bearer a")]) == "a"
    assert presented_key([(b"x-api-key", b" a ")]) == "a"


# What for.

ROUTES: list[tuple[str, str, Any, str]] = [
    ("POST", "/v1/embeddings", EMBED, "embed"),
    ("POST", "/v1/rerank", RERANK, "rerank"),
    ("POST", "/v1/rerank", RERANK | {"model": "ranker"}, "rerank"),
    ("GET", "/metrics", None, "metrics"),
    ("GET", "/config", None, "admin"),
    ("POST", "/admin/reload", None, "admin"),
]


@pytest.mark.parametrize("name", list(SECRETS))
@pytest.mark.parametrize(("method", "path", "body", "scope"), ROUTES)
def test_a_key_does_what_its_scopes_allow(
    locked: TestClient, name: str, method: str, path: str, body: Any, scope: str
) -> None:
    reply = locked.request(method, path, json=body, headers=bearer(name))
    if scope in SCOPES[name]:
        assert reply.status_code == 200, reply.text
    else:
        message = denied(reply, 403, "permission_denied")
        assert repr(scope) in message
        assert repr(name) in message


@pytest.mark.parametrize("name", list(SECRETS))
def test_any_key_may_see_the_models(locked: TestClient, name: str) -> None:
    for path in ("/v1/models", "/models"):
        assert locked.get(path, headers=bearer(name)).status_code == 200


def test_below_admin_everything_is_admin_s(locked: TestClient) -> None:
    denied(locked.get("/admin/anything", headers=bearer("embedder")), 403, "permission_denied")
    assert locked.get("/admin/anything", headers=bearer("all")).status_code == 404


# How much.


def test_beyond_its_requests_a_key_is_told_when_to_come_again(limited: Any) -> None:
    with limited(requests_per_minute=3) as client:
        replies = [client.post("/v1/embeddings", json=EMBED, headers=bearer("all")) for _ in range(4)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
        assert "requests" in denied(replies[3], 429, "rate_limit_exceeded")
        assert 1 <= int(replies[3].headers["retry-after"]) <= 20
        assert 1 <= int(replies[3].headers["retry-after-ms"]) <= 20_000
        assert client.get("/health").status_code == 200


def test_tokens_are_counted_when_they_were_computed(limited: Any) -> None:
    with limited(tokens_per_minute=40) as client:
        long = {"model": "bert", "input": ["dog " * 30] * 3}
        first = client.post("/v1/embeddings", json=long, headers=bearer("all"))
        assert first.status_code == 200
        assert first.json()["usage"]["prompt_tokens"] > 40
        reply = client.post("/v1/embeddings", json=EMBED, headers=bearer("all"))
        assert "tokens" in denied(reply, 429, "rate_limit_exceeded")
        assert int(reply.headers["retry-after"]) >= 1


def test_texts_from_the_cache_count_too(limited: Any) -> None:
    with limited(tokens_per_minute=20) as client:
        statuses = [client.post("/v1/embeddings", json=EMBED, headers=bearer("all")).status_code for _ in range(8)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


def test_a_refused_request_costs_nothing(limited: Any) -> None:
    with limited(requests_per_minute=1) as client:
        for _ in range(3):
            assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=bearer("all")).status_code == 200


# Until when.


def test_an_expired_key_is_refused() -> None:
    now = datetime(2027, 1, 31, tzinfo=UTC)
    settings = Settings(key=[table("ci", "lgt_a", expires=now)])
    assert KeyRing(settings, now=lambda: now - timedelta(seconds=1)).find("lgt_a").name == "ci"
    for later in (now, now + timedelta(days=900)):
        with pytest.raises(AuthenticationError, match="'ci' has expired"):
            KeyRing(settings, now=lambda later=later: later).find("lgt_a")


@pytest.mark.parametrize("written", ["2027-01-31", "2027-01-31T00:00:00", "2027-01-31T01:00:00+01:00"])
def test_a_day_is_its_beginning_and_a_time_without_zone_is_utc(tmp_path: Path, written: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'[[key]]\nname = "a"\nhash = "{digest_of("x")}"\nexpires = {written}\n')
    assert load_settings(file).key[0].expires == datetime(2027, 1, 31, tzinfo=UTC)


# Priority.


def test_a_key_s_priority_is_sent_along_unless_the_request_has_one(open_client: Any, tiny_bert: Path) -> None:
    keys = [table("bulk", "lgt_b", priority="bulk"), table("plain", "lgt_p")]
    with open_client(models=[f"bert={tiny_bert}"], key=keys) as client:
        seen: list[Any] = []

        @client.app.get("/seen")
        async def see(request: Request) -> None:
            seen.append(request.headers.getlist("x-lagotto-priority"))

        for key, own in (("lgt_b", {}), ("lgt_p", {}), ("lgt_b", {"x-lagotto-priority": "interactive"})):
            assert client.get("/seen", headers={"x-api-key": key, **own}).status_code == 200
    assert seen == [["bulk"], [], ["interactive"]]


# Settings.


def test_a_key_of_the_environment_may_do_everything(
    open_client: Any, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAGOTTO_API_KEY", "plain secret?")
    with open_client(models=[f"bert={tiny_bert}"]) as client:
        headers = {"authorization": "Bearer plain secret?"}
        for method, path, body, _ in ROUTES:
            if path != "/v1/rerank":
                assert client.request(method, path, json=body, headers=headers).status_code == 200
        assert client.get("/metrics").status_code == 401
        assert "secret" not in client.get("/config", headers=headers).text


def test_a_plain_key_in_the_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('api_key = "my-secret"')
    with pytest.raises(ConfigError, match=r"LAGOTTO_API_KEY.*lagotto keys create") as caught:
        load_settings(file)
    assert "my-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hash", '"my-secret"'),
        ("hash", '"sha256:XYZ"'),
        ("name", '"a b"'),
        ("name", '"a\\nb"'),
        ("scopes", '["root"]'),
        ("requests_per_minute", "0"),
        ("tokens_per_minute", "-1"),
        ("expires", '"soon"'),
        ("priority", '"first"'),
        ("secret", '"my-secret"'),
    ],
)
def test_a_bad_table_is_refused_and_nothing_of_it_is_repeated(tmp_path: Path, field: str, value: str) -> None:
    file = tmp_path / "settings.toml"
    fields = {"name": '"a"', "hash": f'"{digest_of("x")}"'} | {field: value}
    file.write_text("[[key]]\n" + "\n".join(f"{name} = {text}" for name, text in fields.items()))
    with pytest.raises(ConfigError, match=rf"key\.0\.{field}") as caught:
        load_settings(file)
    assert "my-secret" not in str(caught.value)
    assert digest_of("x") not in str(caught.value)


@pytest.mark.parametrize(("second", "what"), [(table("a", "y"), "name"), (table("b", "x"), "hash")])
def test_two_keys_differ_in_name_and_in_digest(second: KeySettings, what: str) -> None:
    with pytest.raises(ConfigError, match=f"the same {what}"):
        KeyRing(Settings(key=[table("a", "x"), second]))


def test_settings_show_no_key(tmp_path: Path) -> None:
    settings = Settings(api_key="my-secret", key=[table("a", "x")])
    assert "my-secret" not in repr(settings)
    assert digest_of("x") not in repr(settings)
    assert not {"key", "api_key"} & set(settings.public())


def test_a_ring_that_follows_another_goes_on_with_its_quotas() -> None:
    settings = Settings(key=[table("a", "x", requests_per_minute=1), table("b", "y", requests_per_minute=1)])
    first = KeyRing(settings)
    first.find("x").spend()
    changed = Settings(key=[settings.key[0], table("b", "y", requests_per_minute=2)])
    second = KeyRing(changed, first)
    assert second.find("x") is first.find("x")
    assert second.find("y") is not first.find("y")

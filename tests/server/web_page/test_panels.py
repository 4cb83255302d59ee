"""Each panel in a real browser, its numbers against the library's."""

from __future__ import annotations

import io
import json
import shlex
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.heads.similarity import lexical_matching, max_sim_matrix
from support.token_models import write_colbert

TEXTS = ["the dog eats truffles", "a dog", "大熊猫吃竹子", "<img src=x onerror=alert(1)> it's"]
QUERY = "what does the dog eat"
LONG = "dog " * 100


def told(page: Any, panel: str) -> dict[str, str]:
    """The facts above a panel's results."""
    script = "[node.querySelector('dt').textContent, node.querySelector('dd').innerText]"
    rows = f"[...document.querySelectorAll('#{panel} .results > .facts > div')]"
    return dict(page.value(f"{rows}.map((node) => {script})"))


def numbers(page: Any, selector: str) -> list[float]:
    return page.value(f"[...document.querySelectorAll('{selector}')].map((node) => Number(node.innerText))")


def copied(page: Any, panel: str, language: str) -> str:
    """What a panel's button copies."""
    page.value("(navigator.clipboard.writeText = async (text) => { window.copied = text; }, null)")
    page.click(f"#{panel} button[data-t='copy.{language}']")
    return page.until("window.copied")


def test_embeddings_by_keyboard(visit: Any, m3_model: Any) -> None:
    page = visit("#panel=embeddings")
    page.fill("#embeddings [name=model]", "m3")
    page.fill("#embeddings [name=role]", "query")
    page.fill("#embeddings [name=texts]", "\n\n".join([*TEXTS, LONG]))
    page.press("Tab")
    assert page.value("document.activeElement.textContent") == "Embed"
    page.press("Enter")
    page.until("document.querySelectorAll('#embeddings .heat').length === 25")
    found = m3_model.encode_queries([*TEXTS, LONG.strip()])
    expected = m3_model.similarity(found, found)
    np.testing.assert_allclose(np.reshape(numbers(page, "#embeddings .heat"), (5, 5)), expected, atol=6e-4)
    facts = told(page, "embeddings")
    assert facts["Dimensions"] == "32"
    assert facts["Tokens"] == str(found.tokens.sum())
    assert facts["Truncated"] == "text 5"
    assert facts["Fingerprint"] == m3_model.fingerprint
    assert facts["On the server"].endswith(" ms")
    assert page.value("document.images.length") == 1, "a text is no markup"
    assert TEXTS[3] in page.value("document.querySelector('#embeddings tbody').innerText")
    assert page.value("document.activeElement.textContent") == "Embed"


def test_embeddings_of_fewer_dimensions_and_of_paragraphs(visit: Any, run: Any, m3_model: Any) -> None:
    page = visit("#panel=embeddings")
    page.fill("#embeddings [name=model]", "m3")
    page.fill("#embeddings [name=split]", "paragraphs")
    page.fill("#embeddings [name=dimensions]", "8")
    page.fill("#embeddings [name=texts]", "a dog\neats\n \n\na panda")
    run(page, "embeddings")
    found = m3_model.encode(["a dog\neats", "a panda"], dimensions=8)
    assert told(page, "embeddings")["Dimensions"] == "8"
    expected = m3_model.similarity(found, found)[0, 1]
    np.testing.assert_allclose(numbers(page, "#embeddings .heat")[1], expected, atol=6e-4)


def test_a_model_that_is_not_in_memory_is_loaded_by_being_used(visit: Any, run: Any) -> None:
    page = visit("#panel=embeddings")
    option = "document.querySelector('#embeddings option[value=idle]').textContent"
    assert "idle" in page.value(option)
    page.fill("#embeddings [name=model]", "idle")
    run(page, "embeddings")
    assert told(page, "embeddings")["Dimensions"] == "32"
    assert page.value(option) == "idle"


def test_reranking(visit: Any, run: Any, ranker: Any, embedder: Any) -> None:
    page = visit("#panel=rerank")
    page.fill("#rerank [name=query]", QUERY)
    page.fill("#rerank [name=documents]", "\n".join([*TEXTS, LONG]))
    page.fill("#rerank [name=dense]", "bert")
    run(page, "rerank")
    documents = [*TEXTS, LONG.strip()]
    ranking = ranker.rank(QUERY, documents)
    shown = page.value("[...document.querySelectorAll('#rerank .document')].map((node) => node.firstChild.textContent)")
    assert shown == [documents[place.index] for place in ranking]
    scores = numbers(page, "#rerank .score")
    np.testing.assert_allclose(scores, [place.score for place in ranking], atol=6e-5)
    dense = embedder.similarity(embedder.encode_queries([QUERY]), embedder.encode_documents(documents))[0]
    order = np.argsort(-dense, kind="stable").tolist()
    marks = page.value("[...document.querySelectorAll('#rerank .marks')].map((node) => node.innerText)")
    moves = page.value(
        "[...document.querySelectorAll('#rerank .marks')].map((row) =>"
        " [...row.querySelectorAll('.movement')].map((node) => node.getAttribute('aria-label')))"
    )
    for now, place in enumerate(ranking):
        assert f"came as {place.index + 1}" in marks[now]
        assert f"embedder: {order.index(place.index) + 1} ({dense[place.index]:.3f})" in marks[now]
        assert moves[now] == [moved(place.index - now), moved(order.index(place.index) - now)]


def moved(by: int) -> str:
    return f"up {by}" if by > 0 else f"down {-by}" if by else "same place"


def test_tokens_and_what_is_cut(visit: Any, run: Any, m3_model: Any) -> None:
    page = visit("#panel=tokenise")
    page.fill("#tokenise [name=model]", "m3")
    page.fill("#tokenise [name=prompt]", "query")
    page.fill("#tokenise [name=text]", LONG)
    run(page, "tokenise")
    tokens = m3_model.tokenizer.tokenize(f"query: {LONG}")
    ids = [int(number) for number in numbers(page, "#tokenise .chip .id")]
    assert ids == [token.id for token in tokens]
    read = m3_model.encode([f"query: {LONG}"]).tokens[0]
    assert page.value("document.querySelectorAll('#tokenise .chip:not(.unread)').length") == read == 64
    facts = told(page, "tokenise")
    assert facts["Special"] == "2"
    assert facts["Not read"] == str(len(tokens) - 64)
    assert f"the last {len(tokens) - 64} are cut off" in page.seen()
    chips = "[...document.querySelectorAll('#tokenise .chip')]"
    unread = page.value(f"{chips}.map((node) => node.classList.contains('unread'))")
    assert unread == [63 <= place < len(tokens) - 1 for place in range(len(tokens))]


def test_weights_and_max_sim(visit: Any, run: Any, m3_model: Any) -> None:
    page = visit("#panel=weights")
    assert page.value("document.querySelector('#weights [name=model]').options[0].value") == "m3"
    page.fill("#weights [name=query]", QUERY)
    page.fill("#weights [name=document]", TEXTS[0])
    run(page, "weights")
    outputs = {"sparse", "multivector"}
    query, document = (
        m3_model.encode_queries([QUERY], outputs=outputs),
        m3_model.encode_documents([TEXTS[0]], outputs=outputs),
    )
    seen = page.seen()
    assert f"Lexical score {lexical_matching(query.sparse, document.sparse)[0, 0]:.4f}" in seen
    assert f"Score {max_sim_matrix(query.multivector, document.multivector)[0, 0]:.4f}" in seen
    products = query.multivector.row(0) @ document.multivector.row(0).T
    best = numbers(page, "#weights .chips .id")
    np.testing.assert_allclose(best, products.max(1), atol=6e-4)
    assert "numbered" not in seen
    place = 3
    page.value(f"(document.querySelectorAll('#weights .chips button')[{place}].focus(), null)")
    page.until(f"document.querySelectorAll('#weights .chips button')[{place}].getAttribute('aria-pressed') === 'true'")
    answers = page.value("[...document.querySelectorAll('#weights .weighted')].at(-1).children.length")
    assert answers == products.shape[1]
    chosen = page.value(
        "[...[...document.querySelectorAll('#weights .weighted')].at(-1).children]"
        ".findIndex((node) => node.classList.contains('best'))"
    )
    assert chosen == products[place].argmax()
    weights = page.value(
        "[...document.querySelectorAll('#weights .weighted')[1].querySelectorAll('.id')]"
        ".map((node) => Number(node.textContent))"
    )
    ids = [token.id for token in m3_model.tokenizer.tokenize(f"passage: {TEXTS[0]}", special=False)]
    known = dict(zip(*(part.tolist() for part in document.sparse.row(0)), strict=True))
    np.testing.assert_allclose(weights, [known.get(number, 0) for number in ids], atol=6e-4)


def test_vectors_that_are_not_one_a_token_are_numbered(visit: Any, run: Any, serve: Any, tmp_path: Path) -> None:
    folder = write_colbert(tmp_path / "colbert")
    with serve(models=[f"colbert={folder}"]) as url, Embedder(folder, precision="f32", threads=2) as model:
        page = visit("#panel=weights", url)
        page.fill("#weights [name=query]", QUERY)
        page.fill("#weights [name=document]", TEXTS[0])
        run(page, "weights")
        query, document = model.encode_queries([QUERY]), model.encode_documents([TEXTS[0]])
        seen = page.seen()
        assert f"Score {model.similarity(query, document)[0, 0]:.4f}" in seen
        assert "numbered" in seen
        assert len(numbers(page, "#weights .chips .id")) == len(query.multivector.row(0))
        assert page.value("document.querySelector('#weights .chips .piece').textContent") == "#1"


def test_an_idle_model_without_token_outputs_says_so(
    visit: Any, run: Any, serve: Any, tiny_m3: Any, tiny_bert: Any
) -> None:
    idle = {"name": str(tiny_bert), "alias": "idle", "eager": False}
    late = {"name": str(tiny_m3), "alias": "late", "eager": False}
    with serve(model=[idle, late]) as url:
        page = visit("#panel=weights", url)
        assert "may be able to: idle, late" in page.value("document.querySelector('#weights .note').innerText")
        page.fill("#weights [name=model]", "idle")
        run(page, "weights")
        assert "neither sparse nor" in page.value("document.querySelector('#weights .failure').innerText")
        page.fill("#weights [name=model]", "late")
        run(page, "weights")
        assert "Lexical score" in page.seen()
        assert "MaxSim" in page.seen()


def test_where_no_model_has_token_outputs_it_says_which_could(visit: Any, serve: Any, tiny_bert: Any) -> None:
    with serve(models=[f"bert={tiny_bert}"]) as url:
        page = visit("#panel=weights", url)
        assert "BAAI/bge-m3" in page.value("document.querySelector('#weights .note').innerText")
        page.click("#weights button[type=submit]")
        assert page.until("document.querySelector('#weights .failure').innerText") == "Choose a model first."


EMBED = """fetch("v1/embeddings", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ model: "bert", input: [`dog ${Math.random()}`, `${"panda ".repeat(9)} ${Math.random()}`] }),
}).then((answer) => answer.text())"""
HIDE = """(() => {
  Object.defineProperty(document, "visibilityState", { value: "%s", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
})()"""


def test_metrics_are_drawn_while_they_are_looked_at(visit: Any) -> None:
    page = visit()
    # Timers that run ten times as fast, so that nobody has to wait for every two seconds.
    page.value("(() => { const real = setTimeout; window.setTimeout = (work, ms) => real(work, ms / 10); })()")
    page.click("#tab-metrics")
    page.until("document.querySelector('#metrics .status').textContent.startsWith('The first')")
    page.value(EMBED)
    # Latency, padding and cache have values only of intervals in which something was asked.
    page.until("[...document.querySelectorAll('#metrics .most')].every((node) => node.textContent)")
    most = page.value("[...document.querySelectorAll('#metrics .most')].map((node) => node.textContent)")
    requests, tokens, queue, latency, padding, hits = (one.removeprefix("most ").replace(",", "") for one in most)
    assert float(requests) > 0
    assert float(tokens) > 1
    assert float(queue) < 5
    assert latency.endswith("s")
    assert padding.endswith("%")
    assert hits.endswith("%")

    def asked() -> int:
        return sum(address.endswith("/metrics") for address in page.addresses)

    def quiet() -> bool:
        time.sleep(0.1)  # for what was on its way
        before = asked()
        time.sleep(0.5)
        return asked() == before

    assert not quiet()
    page.click("#metrics button[type=submit]")
    assert page.value("document.querySelector('#metrics button.main').textContent") == "Resume"
    assert quiet()
    page.click("#metrics button[type=submit]")
    assert not quiet()
    page.value(HIDE % "hidden")
    assert quiet()
    page.value(HIDE % "visible")
    assert not quiet()
    page.click("#tab-embeddings")
    assert quiet()


def test_models_and_their_states(visit: Any, run: Any, embedder: Any) -> None:
    page = visit("#panel=embeddings")
    page.fill("#embeddings [name=model]", "broken")
    run(page, "embeddings")
    assert "Status 5" in page.value("document.querySelector('#embeddings .failure').innerText")
    page.complaints.clear()  # the browser's own line about the status
    page.click("#tab-models")
    page.until("document.querySelectorAll('#models .card').length === 5")
    cards = page.value("[...document.querySelectorAll('#models .card')].map((node) => node.innerText)")
    assert [card.split("\n")[0] for card in cards] == ["bert", "m3", "ranker", "idle", "broken"]
    for part in (embedder.fingerprint, "cpu · openvino", "f32", "64", "loaded", "lose their end", " MB"):
        assert part in cards[0]
    assert "dense, sparse, multivector" in cards[1]
    assert "document, query, what" in cards[1]
    assert "reranks" in cards[2]
    assert "failed" in cards[4]
    assert "checkpoint_error" in cards[4]


@pytest.mark.parametrize(
    ("panel", "count"),
    [("embeddings", 1), ("rerank", 3), ("tokenise", 1), ("weights", 4), ("metrics", 1), ("models", 3)],
)
def test_what_is_on_the_screen_as_code(visit: Any, address: str, panel: str, count: int) -> None:
    page = visit(f"#panel={panel}")
    if panel == "embeddings":
        page.fill("#embeddings [name=texts]", "\n".join(TEXTS))
    commands = [shlex.split(command.replace("\\\n", " ")) for command in copied(page, panel, "curl").split("\n\n")]
    assert len(commands) == count
    for command in commands:
        assert command[:1] == ["curl"]
        assert command[1].startswith(f"{address}/")
        assert "Authorization" not in str(command)
    if panel == "embeddings":
        body = json.loads(commands[0][-1])
        assert body == {"model": "bert", "input": TEXTS, "role": "text", "outputs": ["dense"]}
    page.value("window.copied = null")
    program = copied(page, panel, "python")
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(program, "copied", "exec"), {})
    if panel == "embeddings":
        answer = json.loads(out.getvalue())
        assert len(answer["data"]) == len(TEXTS)
    assert out.getvalue()

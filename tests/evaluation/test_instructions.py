"""How models of each kind want the texts of a task to be written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lagotto.cards.schema import ModelCard, PromptTemplate
from lagotto.evaluation.instructions import TaskHint, Wording, takes_instructions, wording

NFCORPUS = TaskHint("NFCorpus", "Retrieval", "Given a question, find documents")
STS = TaskHint("STS12", "STS", "Find texts of the same meaning")
PLAIN = TaskHint()


def card(query="", document="", template="{instruction}{text}", **more):
    return ModelCard(
        "m",
        "embed",
        "bert",
        ("dense",),
        512,
        query=PromptTemplate(query, template),
        document=PromptTemplate(document),
        **more,
    )


BGE = card("Represent this sentence for searching relevant passages: ")
E5 = card("query: ", "passage: ")
BARE = card()
INSTRUCTED = card("Retrieve relevant passages", template="Instruct: {instruction}\nQuery: {text}")
SILENT = card(template="<instruct>{instruction}\n<query>{text}")
SUFFIXED = card("search", template="{text} ({instruction})")


def written(model, task, side, text="x"):
    """The text as the model would see it: `wording`, and what `Embedder.stream` makes of it."""
    how = wording(model, task, side)
    if how.prompt is not None:
        return how.prompt + text
    if how.role == "text":
        assert how.instruction is None
        return text
    return (model.query if how.role == "query" else model.document).render(text, how.instruction)


@pytest.mark.parametrize("task", [NFCORPUS, STS, PLAIN])
def test_bge_instructs_queries_alone(task):
    assert written(BGE, task, "query") == "Represent this sentence for searching relevant passages: x"
    assert written(BGE, task, "document") == "x"
    assert written(BGE, task, "text") == "x"
    assert wording(BGE, task, "text") == Wording("text")


@pytest.mark.parametrize("task", [NFCORPUS, STS, PLAIN])
def test_e5_has_a_prefix_before_every_text_and_the_querys_where_sides_are_alike(task):
    assert written(E5, task, "query") == "query: x"
    assert written(E5, task, "document") == "passage: x"
    assert written(E5, task, "text") == "query: x"


@pytest.mark.parametrize("side", ["query", "document", "text"])
def test_a_model_without_prompts_reads_texts_as_they_are(side):
    assert written(BARE, NFCORPUS, side) == "x"


def test_a_prefix_before_documents_alone_is_no_reason_to_write_texts_as_queries():
    assert written(card(document="passage: "), STS, "text") == "x"
    assert written(card(document="passage: "), STS, "document") == "passage: x"


def test_an_instructed_model_is_told_the_tasks_instruction():
    assert written(INSTRUCTED, NFCORPUS, "query") == "Instruct: Given a question, find documents\nQuery: x"
    assert written(INSTRUCTED, NFCORPUS, "document") == "x"
    assert written(INSTRUCTED, STS, "text") == "Instruct: Find texts of the same meaning\nQuery: x"
    assert written(SUFFIXED, NFCORPUS, "query") == "x (Given a question, find documents)"


def test_an_instructed_model_has_its_own_instruction_where_the_task_has_none():
    assert written(INSTRUCTED, PLAIN, "query") == "Instruct: Retrieve relevant passages\nQuery: x"
    assert written(SILENT, PLAIN, "query") == "x"
    assert written(SILENT, NFCORPUS, "query") == "<instruct>Given a question, find documents\n<query>x"


def test_braces_of_an_instruction_are_no_template():
    task = TaskHint(instruction="Find {text} and {instruction}")
    assert written(INSTRUCTED, task, "query", "{x}") == "Instruct: Find {text} and {instruction}\nQuery: {x}"


def test_which_models_take_instructions():
    assert [takes_instructions(model) for model in (INSTRUCTED, SILENT, SUFFIXED)] == [True] * 3
    assert [takes_instructions(model) for model in (BGE, E5, BARE, card("a", template="{text}"))] == [False] * 4


PROMPTS = {
    "NFCorpus-query": "a: ",
    "NFCorpus": "b: ",
    "Retrieval-query": "c: ",
    "Retrieval": "d: ",
    "NFCorpus-document": "e: ",
    "NFCorpus-passage": "f: ",
    "Retrieval-document": "g: ",
    "Retrieval-passage": "h: ",
}


@pytest.mark.parametrize(("side", "order"), [("query", "abcd"), ("document", "efgh"), ("text", "bd")])
@pytest.mark.parametrize("model", [BGE, E5, INSTRUCTED])
def test_named_prompts_go_before_templates_in_mtebs_order(side, order, model):
    prompts = dict(PROMPTS)
    for letter in order:
        assert written(model.with_changes(prompts=prompts), NFCORPUS, side) == f"{letter}: x"
        prompts = {name: prompt for name, prompt in prompts.items() if prompt != f"{letter}: "}
    assert wording(model.with_changes(prompts=prompts), NFCORPUS, side) == wording(model, NFCORPUS, side)


@pytest.mark.parametrize("kept", [set(PROMPTS), {"NFCorpus", "Retrieval-query"}, {"Retrieval"}, {"Retrieval-query"}])
def test_queries_get_the_prompt_that_mteb_would_choose(kept):
    from mteb.models.abs_encoder import get_prompt_name
    from mteb.types import PromptType

    prompts = {name: PROMPTS[name] for name in kept}
    metadata = SimpleNamespace(name="NFCorpus", type="Retrieval")
    chosen = prompts[get_prompt_name(prompts, metadata, PromptType.query)]
    assert wording(BGE.with_changes(prompts=prompts), NFCORPUS, "query").prompt == chosen


def test_a_prompt_without_a_side_is_not_put_before_documents():
    model = BGE.with_changes(prompts={"NFCorpus": "q: ", "STS": "s: "})
    assert written(model, NFCORPUS, "document") == "x"
    assert written(model, NFCORPUS, "query") == "q: x"
    assert written(model, STS, "text") == "s: x"


def test_prompts_of_other_tasks_and_empty_names_change_nothing():
    model = BGE.with_changes(prompts={"": "no: ", "-query": "no: ", "SciFact": "no: ", "query": "no: "})
    assert written(model, NFCORPUS, "query") == written(BGE, NFCORPUS, "query")
    assert written(model, PLAIN, "query") == written(BGE, PLAIN, "query")


def test_an_empty_prompt_is_a_prompt():
    model = BGE.with_changes(prompts={"NFCorpus": ""})
    assert wording(model, NFCORPUS, "query") == Wording("query", prompt="")
    assert written(model, NFCORPUS, "query") == "x"

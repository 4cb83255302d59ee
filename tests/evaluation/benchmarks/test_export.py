"""Writing a source as a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.benchmarks.export import export
from lagotto.evaluation.benchmarks.registry import Benchmark
from lagotto.evaluation.benchmarks.sources import Document, Judgement, Query, Source
from lagotto.evaluation.datasets.retrieval import RetrievalData, read_retrieval

ROW = Benchmark(
    name="toys/small",
    loader="",
    split="dev",
    language="fr",
    task="Toys",
    instruction="Find toys.",
    measures=("ndcg@10", "map"),
    group="toys",
)
DOCUMENTS = (Document("d1", "A ball.", "Ball"), Document("d2", "A doll."))
QUERIES = (Query("q1", "round"), Query("q2", "human"))
JUDGEMENTS = (Judgement("q1", "d1", 2), Judgement("q1", "d2", 0))


def source(
    documents: tuple[Document, ...] = DOCUMENTS,
    queries: tuple[Query, ...] = QUERIES,
    judgements: tuple[Judgement, ...] = JUDGEMENTS,
) -> Source:
    return Source("the attic", lambda: iter(documents), lambda: iter(queries), lambda: iter(judgements))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "toys" / "small"


def exported(row: Benchmark, what: Source, target: Path, said: list[str]) -> RetrievalData:
    export(row, what, target, said.append)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return read_retrieval(target, row.split)


def test_what_a_folder_holds(target: Path, said: list[str]) -> None:
    data = exported(ROW, source(), target, said)

    assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == {
        "corpus.jsonl",
        "queries.jsonl",
        "qrels/dev.tsv",
        "dataset.json",
    }
    assert json.loads((target / "corpus.jsonl").read_text().splitlines()[0]) == {
        "_id": "d1",
        "title": "Ball",
        "text": "A ball.",
    }
    assert data.name == "toys/small"
    assert dict(zip(data.corpus.ids, data.corpus.texts(), strict=True)) == {"d1": "Ball A ball.", "d2": "A doll."}
    assert data.queries == {"q1": "round"}
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}}
    assert (data.split, data.language, data.group, data.measures) == ("dev", "fr", "toys", ("ndcg@10", "map"))
    assert (data.task.name, data.task.type, data.task.instruction) == ("Toys", "Retrieval", "Find toys.")
    assert data.source == "the attic"
    assert data.warnings == ()
    assert said == [
        "toys/small: fetching from the attic",
        "toys/small: 2 documents",
        "toys/small: 1 queries",
        f"toys/small: ready in {target}",
    ]


def test_the_folder_is_as_open_to_others_as_any(target: Path, said: list[str], tmp_path: Path) -> None:
    exported(ROW, source(), target, said)
    (tmp_path / "any").mkdir()

    assert target.stat().st_mode == (tmp_path / "any").stat().st_mode


def test_an_interrupted_export_leaves_nothing(target: Path, said: list[str]) -> None:
    def documents() -> Iterator[Document]:
        yield DOCUMENTS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(ROW, replace(source(), documents=documents), target, said.append)

    assert list(target.parent.iterdir()) == []


def test_a_faster_process_wins(target: Path, said: list[str]) -> None:
    def documents() -> Iterator[Document]:
        export(ROW, source(), target, said.append)
        yield Document("d1", "Late.")

    export(ROW, replace(source(), documents=documents), target, said.append)

    assert [path.name for path in target.parent.iterdir()] == ["small"]
    assert read_retrieval(target).corpus.ids == ("d1", "d2")


def test_a_folder_of_something_else_is_not_taken_for_an_export(target: Path, said: list[str]) -> None:
    target.mkdir(parents=True)
    (target / "notes.txt").write_text("mine")

    with pytest.raises(OSError, match="small"):
        export(ROW, source(), target, said.append)

    assert [path.name for path in target.parent.rglob("*")] == ["small", "notes.txt"]


def test_ids_with_white_space_are_written_so_that_run_files_can_carry_them(target: Path, said: list[str]) -> None:
    what = source(
        documents=(Document("a b.txt", "text"), Document("c\u00a0d", "text")),
        queries=(Query("q 1", "?", excluded=("c\u00a0d",)),),
        judgements=(Judgement("q 1", "a b.txt", 1),),
    )

    data = exported(ROW, what, target, said)

    assert data.corpus.ids == ("a%20b.txt", "c%C2%A0d")
    assert data.qrels == {"q%201": {"a%20b.txt": 1}}
    assert data.excluded == {"q%201": {"c%C2%A0d"}}


def test_an_empty_id_is_an_error(target: Path, said: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="empty id"):
        export(ROW, source(documents=(Document("", "text"),)), target, said.append)


def test_of_documents_and_queries_with_the_same_id_the_first_counts(target: Path, said: list[str]) -> None:
    what = source(
        documents=(*DOCUMENTS, Document("d1", "Another ball.")), queries=(*QUERIES, Query("q1", "round again"))
    )

    data = exported(ROW, what, target, said)

    assert list(data.corpus.texts()) == ["Ball A ball.", "A doll."]
    assert data.queries == {"q1": "round"}
    assert "toys/small: left out 1 documents whose id was there before" in said


def test_of_two_judgements_of_a_pair_the_last_counts(target: Path, said: list[str]) -> None:
    data = exported(ROW, source(judgements=(*JUDGEMENTS, Judgement("q1", "d2", 1))), target, said)

    assert data.qrels == {"q1": {"d1": 2, "d2": 1}}


def test_judged_queries_without_a_text_are_left_out_and_said(target: Path, said: list[str]) -> None:
    data = exported(ROW, source(judgements=(*JUDGEMENTS, Judgement("q9", "d2", 1))), target, said)

    assert set(data.qrels) == {"q1"}
    assert "toys/small: left out 1 judged queries whose text is not there" in said


def test_a_source_without_anything_to_score_is_an_error(target: Path, said: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="the attic has no query with a judgement or an answer"):
        export(ROW, source(judgements=()), target, said.append)

    assert list(target.parent.iterdir()) == []


def test_answers_stand_for_judgements(target: Path, said: list[str]) -> None:
    queries = (Query("q1", "round", answers=("ball", "Ball")), QUERIES[1])

    data = exported(replace(ROW, split="test"), source(queries=queries, judgements=()), target, said)

    assert data.queries == {"q1": "round"}
    assert data.answers == {"q1": ("ball", "Ball")}
    assert data.qrels == {}


def test_a_query_does_not_find_itself_where_the_row_says_so(target: Path, said: list[str]) -> None:
    queries = (Query("d2", "A doll.", excluded=("d1",)), Query("q1", "round"))
    judgements = (Judgement("d2", "d1", 1), Judgement("q1", "d1", 1))

    data = exported(replace(ROW, exclude_self=True), source(queries=queries, judgements=judgements), target, said)

    assert data.excluded == {"d2": {"d1", "d2"}}  # q1 is no document
    assert data.warnings == ()


def test_halves_of_surrogate_pairs_are_replaced(target: Path, said: list[str]) -> None:
    data = exported(ROW, source(documents=(Document("d1", "a \ud83d b ü"), DOCUMENTS[1])), target, said)

    assert list(data.corpus.texts()) == ["a ? b ü", "A doll."]


def test_progress_is_said(target: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.evaluation.benchmarks.export._EVERY", 2)
    documents = tuple(Document(f"d{number}", "text") for number in range(5))

    exported(ROW, source(documents=documents), target, said)

    assert [line for line in said if "documents" in line] == [
        "toys/small: 2 documents",
        "toys/small: 4 documents",
        "toys/small: 5 documents",
    ]


def test_a_corpus_that_is_there_already_is_linked(target: Path, said: list[str], tmp_path: Path) -> None:
    other = tmp_path / "toys" / "other"
    export(ROW, source(), other, said.append)

    def documents() -> Iterator[Document]:
        raise AssertionError("the corpus is there")

    what = replace(source(), documents=documents)
    export(ROW, what, target, said.append, same_corpus=other / "corpus.jsonl")

    assert (target / "corpus.jsonl").samefile(other / "corpus.jsonl")
    assert read_retrieval(target).corpus.ids == ("d1", "d2")


def test_a_corpus_that_can_t_be_linked_is_written(target: Path, said: list[str], tmp_path: Path) -> None:
    export(ROW, source(), target, said.append, same_corpus=tmp_path / "gone" / "corpus.jsonl")

    assert read_retrieval(target).corpus.ids == ("d1", "d2")

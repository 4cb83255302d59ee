"""Encode the texts of a data set for a leg: as the leg or the card words them, once for all legs that share them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.instructions import Side, TaskHint, Wording, wording
from lagotto.evaluation.pipeline import Encoder, EncoderLeg
from lagotto.evaluation.results import Histogram, Lengths, Stage
from lagotto.evaluation.store import Encoded, Stored
from lagotto.evaluation.workbench import Encoding, Workbench
from lagotto.models.embedder import Embedder
from lagotto.models.examples import read_examples_file
from lagotto.models.token_outputs import OutputName

_BINS = 30


def leg_wording(part: Encoder, embedder: Embedder, task: TaskHint, side: Side) -> Wording:
    """How texts are written: by the leg's prompt, task or instruction, else as the card says for the task."""
    told = _told(part, embedder, task, side)
    if part.query_examples is None or side == "document":
        return told
    return replace(told, role="query", examples=read_examples_file(Path(part.query_examples)))


def _told(part: Encoder, embedder: Embedder, task: TaskHint, side: Side) -> Wording:
    prompt = part.document_prompt if side == "document" else part.query_prompt
    if prompt is not None:
        return Wording(side, prompt=prompt)
    if part.task is not None:
        return Wording(side, task=part.task)
    if part.query_instruction is not None and side != "document":
        return Wording("query", instruction=part.query_instruction)
    return wording(embedder.card, task, side)


def encode_both(
    bench: Workbench, leg: EncoderLeg, data: RetrievalData
) -> tuple[Encoded, Encoded, tuple[Encoding, ...]]:
    """Documents and queries in a leg's output, and what encoding them took.

    The outputs that other legs want of the same model are computed in the same pass, and kept for them.
    """
    wanted = {leg.output, *bench.outputs(leg)}
    documents = encode_documents(bench, leg, data, wanted)
    queries = encode_queries(bench, leg, data, wanted)
    took = (
        what_it_took(bench, leg, "index", "documents", documents, (leg.output,)),
        what_it_took(bench, leg, "embed queries", "queries", queries, (leg.output,)),
    )
    return documents, queries, took


def encode_documents(bench: Workbench, part: Encoder, data: RetrievalData, wanted: Collection[OutputName]) -> Encoded:
    """A data set's documents, written as a part of a pipeline or its model's card says."""
    embedder = bench.embedder(part)
    told = leg_wording(part, embedder, data.task, "document")
    with bench.watcher.stage(f"{data.name}: embedding documents", len(data.corpus), "text") as done:
        return bench.store.encode(embedder, data.corpus.texts(), told, wanted, done)


def encode_queries(bench: Workbench, part: Encoder, data: RetrievalData, wanted: Collection[OutputName]) -> Encoded:
    """A data set's queries, likewise."""
    embedder = bench.embedder(part)
    told = leg_wording(part, embedder, data.task, "query")
    with bench.watcher.stage(f"{data.name}: embedding queries", len(data.queries), "text") as done:
        return bench.store.encode(embedder, data.queries.values(), told, wanted, done)


def what_it_took(
    bench: Workbench, part: Encoder, stage: str, what: str, encoded: Encoded, outputs: Collection[OutputName]
) -> Encoding:
    """The pass that these outputs come from; where they were computed apart, it takes as long as the longest did."""
    parts = [encoded.part(name) for name in sorted(outputs)]
    stored = max(parts, key=lambda stored: stored.seconds)
    work = model_stage(stage, part.model, stored)
    return Encoding(
        part.encoder,
        replace(work, cached=min(stored.cached for stored in parts)),
        lengths(f"{what}, {part.model}", bench.embedder(part).max_length, stored),
        tuple(cut_warnings(stored, what, part.model)),
    )


def model_stage(name: str, model: str, stored: Stored[Any]) -> Stage:
    """What a model's work took, now or when it was computed."""
    return Stage(f"{name}: {model}", stored.seconds, len(stored), int(stored.tokens.sum()), stored.cached)


def lengths(what: str, limit: int, stored: Stored[Any]) -> Lengths:
    """How long texts were for a model."""
    tokens = stored.tokens
    longest = int(tokens.max(initial=0))
    counts, edges = np.histogram(tokens, bins=min(_BINS, max(1, longest)), range=(0, max(1, longest)))
    return Lengths(
        what=what,
        limit=limit,
        mean=float(tokens.mean()) if len(tokens) else 0.0,
        longest=longest,
        truncated=int(stored.truncated.sum()),
        texts=len(stored),
        histogram=Histogram(tuple(edges.tolist()), tuple(counts.tolist())),
    )


def cut_warnings(stored: Stored[Any], what: str, model: str) -> Iterator[str]:
    """A warning where texts were cut."""
    if cut := int(stored.truncated.sum()):
        yield f"{cut} of {len(stored)} {what} were longer than {model} reads and lost their end"

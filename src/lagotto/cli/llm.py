"""Options of ``lagotto rerank`` for a language model behind an endpoint. None means that the library decides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Url = Annotated[
    str | None,
    typer.Option("--llm", metavar="URL", help="Ask a language model at an OpenAI-compatible address instead."),
]
Model = Annotated[str | None, typer.Option("--llm-model", metavar="NAME", help="The model's name there.")]
KeyVariable = Annotated[
    str | None,
    typer.Option("--llm-key-variable", metavar="VAR", help="Environment variable of the key; LAGOTTO_LLM_API_KEY."),
]
KeyFile = Annotated[
    Path | None, typer.Option("--llm-key-file", metavar="FILE", help="File that holds the key, instead.")
]
Strategy = Annotated[
    Literal["pointwise", "pairwise", "listwise"] | None,
    typer.Option("--strategy", help="How it is asked: listwise (default), pairwise, pointwise."),
]
Answers = Annotated[
    Literal["json_schema", "json_object", "text"] | None,
    typer.Option("--answers", help="The form its answers must have: json_schema (default), json_object, text."),
]
Language = Annotated[Literal["en", "zh"] | None, typer.Option("--language", help="Of the prompt: en (default), zh.")]
Window = Annotated[int | None, typer.Option("--window", metavar="N", help="listwise: documents ordered at once (20).")]
Step = Annotated[int | None, typer.Option("--step", metavar="N", help="listwise: how far the window moves (10).")]
Passes = Annotated[int | None, typer.Option("--passes", metavar="N", help="listwise: how often it goes through (1).")]
Permutations = Annotated[
    int | None,
    typer.Option("--permutations", metavar="N", help="listwise: shuffles of each window against order bias (1: none)."),
]
Judgement = Annotated[
    Literal["grade", "yes_no", "logprobs"] | None,
    typer.Option("--judgement", help="pointwise: what is asked of each document; grade by default."),
]
MaxCharacters = Annotated[
    int | None, typer.Option("--max-characters", metavar="N", help="Characters of a document it gets to see (2000).")
]
Concurrency = Annotated[int | None, typer.Option("--concurrency", metavar="N", help="Requests at once (4).")]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="S", help="Seconds a request may take (120).")]
Reasoning = Annotated[
    bool, typer.Option("--reasoning-model", help="Send what OpenAI's reasoning models take: no temperature.")
]

"""Options that several verbs share, each defined once.

Most have no default here: None means that the library, the environment or the settings file decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

MODEL_HELP = "A folder, a hub id ORG/NAME[@REVISION], or starter:NAME."

Model = Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help=MODEL_HELP)]
Models = Annotated[
    list[str] | None, typer.Option("--model", "-m", metavar="MODEL", help=f"{MODEL_HELP} May be given several times.")
]
Revision = Annotated[str | None, typer.Option("--revision", metavar="REV", help="Branch, tag or commit on the hub.")]
Hub = Annotated[
    str | None, typer.Option("--hub", metavar="HUB", help="huggingface (default) or modelscope; LAGOTTO_HUB otherwise.")
]
Card = Annotated[
    str | None,
    typer.Option("--card", metavar="CARD", help="The listed model a folder was made from, or a .toml file of one."),
]
Pooling = Annotated[
    Literal["cls", "mean", "max", "mean_sqrt_len", "last_token", "splade_max", "splade_sum"] | None,
    typer.Option("--pooling", help="How to pool, for a folder that does not say."),
]

Adapter = Annotated[
    str | None,
    typer.Option("--adapter", metavar="ADAPTER", help="A LoRA adapter for the model: a folder or a hub id (PEFT)."),
]

Compat = Annotated[bool, typer.Option("--compat", help="Put queries of bge-en-icl together as FlagEmbedding does.")]

Engine = Annotated[
    Literal["auto", "openvino", "torch"] | None,
    typer.Option("--engine", help="auto (default): openvino for BERT and XLM-RoBERTa on the CPU, else torch."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="auto (default), cpu, cuda, cuda:N, mps, or cuda:0,cuda:1."),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="P",
        help="auto (default: int8 for a folder of int8 weights; else bf16 where it is in hardware), f32, bf16, "
        "f16 (torch) or int8.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="W",
        help="full (default), int8, int4 or nf4: linear layers in 8 or 4 bits, on torch; see docs/precision.md.",
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="Threads to use; default: all allowed here.")
]
MaxLength = Annotated[
    int | None, typer.Option("--max-length", min=1, metavar="N", help="Most tokens of a text; default: the model's.")
]

ModelsDir = Annotated[
    Path | None,
    typer.Option("--models-dir", metavar="DIR", help="Downloaded models, looked at before any hub; or LAGOTTO_MODELS."),
]
CacheDir = Annotated[
    Path | None, typer.Option("--cache-dir", metavar="DIR", help="Where Lagotto keeps what it makes; or LAGOTTO_CACHE.")
]
Offline = Annotated[bool | None, typer.Option("--offline", help="Never connect; use what is on this machine.")]

Input = Annotated[str, typer.Argument(metavar="INPUT", help="File to read; - is standard input.")]
InputFormat = Annotated[
    Literal["auto", "txt", "jsonl", "csv", "parquet"],
    typer.Option("--input-format", help="auto goes by the file's ending; standard input is txt then."),
]
Field = Annotated[
    str, typer.Option("--field", metavar="NAME", help="Field or column with the text (jsonl, csv, parquet).")
]
IdField = Annotated[
    str | None,
    typer.Option("--id-field", metavar="NAME", help="Field or column with the id; default: id where there is one."),
]

Host = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Address to listen on.")]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, metavar="PORT", help="Port to listen on.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no summary on standard error.")]

"""``lagotto serve``: the HTTP server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lagotto.cli import options


def serve(
    model: options.Models = None,
    host: options.Host = None,
    port: options.Port = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Processes that answer, 1 by default; see docs/server.md, Workers."
        ),
    ] = None,
    log_level: Annotated[
        Literal["critical", "error", "warning", "info", "debug"] | None,
        typer.Option("--log-level", help="How much to log; default: info."),
    ] = None,
    engine: options.Engine = None,
    device: options.Device = None,
    precision: options.Precision = None,
    weights: options.Weights = None,
    threads: options.Threads = None,
    models_dir: Annotated[
        Path | None,
        typer.Option(
            "--models-dir",
            metavar="DIR",
            help="Every model in this folder may be asked for too; or MODEL_STORAGE_PATH.",
        ),
    ] = None,
    cache_dir: options.CacheDir = None,
    offline: options.Offline = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep no vectors for texts that come again; or LAGOTTO_EMBEDDING_CACHE.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings file, TOML; flags and environment win.")
    ] = None,
) -> None:
    """Answer embedding and rerank requests over HTTP until Ctrl-C.

    Flags stand above the environment, the environment above the settings file. SIGHUP reads the settings anew.
    """
    from lagotto.server.run import serve as run
    from lagotto.server.settings import Settings, load_settings

    def read() -> Settings:
        return load_settings(
            config,
            models=model,
            host=host,
            port=port,
            workers=workers,
            log_level=log_level,
            engine=engine,
            device=device,
            precision=precision,
            weights=weights,
            threads=threads,
            model_storage_path=models_dir,
            cache_dir=cache_dir,
            offline=offline,
            embedding_cache=False if no_cache else None,
        )

    run(read(), read)

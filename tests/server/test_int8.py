"""int8 models over HTTP: served like any other, beside any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.errors import InvalidInputError


def vector(client: Any, model: str) -> np.ndarray:
    reply = client.post("/v1/embeddings", json={"model": model, "input": "a giant panda"})
    assert reply.status_code == 200, reply.text
    return np.array(reply.json()["data"][0]["embedding"], np.float32)


def test_auto_serves_int8_and_ordinary_folders_side_by_side(open_client: Any, tiny_int8: Path, tiny_bert: Path) -> None:
    models = [f"small={tiny_int8}", f"whole={tiny_bert}"]
    with open_client(models=models, precision="auto") as client, Embedder(tiny_int8, threads=2) as model:
        np.testing.assert_allclose(vector(client, "small"), model.encode("a giant panda").dense[0], atol=1e-6)
        served = {entry["id"]: entry for entry in client.get("/models").json()["models"]}
        assert served["small"]["engine"]["precision"] == "int8"
        assert served["small"]["fingerprint"] == model.fingerprint
        assert served["whole"]["engine"]["precision"] in ("bf16", "f32")
        cosine = vector(client, "small") @ vector(client, "whole")
    assert 0.99 < cosine < 1


def test_int8_that_is_asked_for_by_name(open_client: Any, tiny_int8: Path) -> None:
    with open_client(models=[f"small={tiny_int8}"], precision="int8") as client:
        assert vector(client, "small").shape == (32,)


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_weights_and_precision_that_do_not_go_together_stop_the_start(
    open_client: Any, tiny_int8: Path, tiny_bert: Path, precision: str
) -> None:
    folder = tiny_int8 if precision == "f32" else tiny_bert
    with pytest.raises(InvalidInputError, match="holds"), open_client(models=[str(folder)], precision=precision):
        pass


def test_a_stored_int8_folder_is_opened_when_it_is_asked_for(open_client: Any, tiny_int8: Path) -> None:
    with open_client(model_storage_path=tiny_int8.parent, precision="auto") as client:
        assert vector(client, tiny_int8.name).shape == (32,)

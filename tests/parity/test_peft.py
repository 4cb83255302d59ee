"""Live and merged adapters give what PEFT gives, where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from lagotto import Embedder, Reranker  # noqa: E402
from support.adapters import write_adapter  # noqa: E402
from support.architectures import write_architecture  # noqa: E402
from support.checkpoints import change_json  # noqa: E402
from support.language_models import write_language_model  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
SHAPES = {
    "layers.0.self_attn.q_proj": (32, 32),
    "layers.1.self_attn.v_proj": (16, 32),
    "layers.1.mlp.down_proj": (32, 48),
}


@pytest.mark.parametrize("config", [{}, {"use_rslora": True}, {"alpha_pattern": {"q_proj": 9}}])
def test_vectors(tmp_path: Path, config: Any) -> None:
    base = write_language_model(tmp_path / "base", "qwen2")
    adapter = write_adapter(tmp_path / "adapter", str(base), SHAPES, target_modules=list(SHAPES), **config)
    module = transformers.AutoModel.from_pretrained(base, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(module, adapter).eval()
    how: dict[str, Any] = {"pooling": "last_token", "precision": "f32", "device": "cpu", "threads": 1}
    text = "what is a panda"
    with Embedder(base, adapters={"a": adapter}, **how) as live, Embedder(base, adapter=adapter, **how) as merged:
        ids = live.tokenizer.encode([text], live.max_length).ids[0]
        with torch.inference_mode():
            given = torch.from_numpy(ids.astype(np.int64))[None]
            expected = adapted(input_ids=given).last_hidden_state[0, -1].numpy()
        expected = expected / np.linalg.norm(expected)
        np.testing.assert_allclose(live.encode(text, adapter="a").dense[0], expected, atol=1e-5)
        np.testing.assert_allclose(merged.encode(text).dense[0], expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "target"), [("bert", "query"), ("qwen3", "q_proj"), ("xlm-roberta", "value")])
def test_scores_with_a_head_of_the_adapters_own(tmp_path: Path, kind: str, target: str) -> None:
    base = write_architecture(tmp_path / "base", kind, classifier=True)
    change_json(base / "config.json", architectures=["AnotherModel"])
    module = transformers.AutoModelForSequenceClassification.from_pretrained(base, dtype=torch.float32)
    adapted = peft.get_peft_model(module, peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=[target]))
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.copy_(torch.randn_like(weight) * 0.2)
    adapted.eval().save_pretrained(tmp_path / "adapter")
    pair = ("what is a panda", "the giant panda is a bear")
    with Reranker(base, adapter=tmp_path / "adapter", precision="f32", device="cpu", threads=1) as model:
        sequences = model.tokenizer.encode_pairs([pair], model.max_length)
        found = model.score([pair])[0]
    ids, second = sequences.ids[0], sequences.second[0]
    given = {"input_ids": torch.from_numpy(ids.astype(np.int64))[None]}
    if kind == "bert":
        given["token_type_ids"] = torch.from_numpy((np.arange(len(ids)) >= second).astype(np.int64))[None]
    with torch.inference_mode():
        assert found == pytest.approx(adapted(**given).logits[0, 0].item(), abs=1e-5)

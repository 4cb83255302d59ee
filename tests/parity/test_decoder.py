"""The decoder's layers against transformers' own forward, for every architecture that transformers builds too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lagotto.cards.decoder_config import decoder_config
from lagotto.cards.json_files import read_json
from lagotto.cards.weights import Weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from lagotto.engines.torch.decoder import Decoder, Flow, Prefixes  # noqa: E402
from lagotto.engines.torch.tensors import TensorReader  # noqa: E402
from support.llm_rerankers import BACKBONES, write_causal  # noqa: E402

VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in BACKBONES},
    "mistral, window": {"sliding_window": 5},
    "mistral, no window": {"sliding_window": None},
    "gemma2, no caps": {"attn_logit_softcapping": None, "final_logit_softcapping": None, "sliding_window": 6},
    "qwen2, window": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen3, biased": {"attention_bias": True},
    "llama, biased": {"attention_bias": True, "mlp_bias": True},
    "llama, linear": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    "llama, llama3": {
        "rope_parameters": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
            "rope_theta": 500.0,
        }
    },
}


def decoder_of(folder: Path) -> Decoder:
    config = decoder_config(read_json(folder / "config.json"), folder)
    return Decoder(config, TensorReader(Weights.open(folder), torch.float32, "cpu"))


def ids_of(rows: int, tokens: int) -> Any:
    return torch.randint(4, 90, (rows, tokens), generator=torch.Generator().manual_seed(3))


def through(decoder: Decoder, ids: Any, lengths: list[int]) -> list[Any]:
    """Normalised states after every layer."""
    flow, found = Flow(decoder.embed(ids), torch.tensor(lengths)), []
    for number in range(decoder.config.num_hidden_layers):
        decoder.layer(number, flow)
        found.append(decoder.norm(flow.states))
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_states_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    folder = write_causal(tmp_path, name.partition(",")[0], **VARIANTS[name])
    decoder, lengths = decoder_of(folder), [23, 9, 17]
    ids = ids_of(3, 23)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    mask = (torch.arange(23) < torch.tensor(lengths)[:, None]).long()
    with torch.inference_mode():
        expected = model(ids, attention_mask=mask, output_hidden_states=True)
        found = through(decoder, ids, lengths)
        for row, length in enumerate(lengths):
            assert torch.allclose(found[-1][row, :length], expected.last_hidden_state[row, :length], atol=1e-5)
            middle = model.norm(expected.hidden_states[2])
            assert torch.allclose(found[1][row, :length], middle[row, :length], atol=1e-5)


@pytest.mark.parametrize("name", ["gemma", "gemma2", "mistral, window"])
def test_rows_that_continue_a_prefix_have_the_states_they_have_whole(name: str, tmp_path: Path) -> None:
    decoder = decoder_of(write_causal(tmp_path, name.partition(",")[0], **VARIANTS[name]))
    ids, begins, lengths = ids_of(4, 21), [6, 6, 9, 9], [21, 15, 20, 13]
    ids[1, :6], ids[3, :9] = ids[0, :6], ids[2, :9]
    with torch.inference_mode():
        whole = through(decoder, ids, lengths)[-1]
        firsts = torch.zeros((2, 9), dtype=torch.long)
        firsts[0, :6], firsts[1] = ids[0, :6], ids[2, :9]
        rest = torch.zeros((4, 15), dtype=torch.long)
        for row, (begin, length) in enumerate(zip(begins, lengths, strict=True)):
            rest[row, : length - begin] = ids[row, begin:length]
        owner = torch.tensor([0, 0, 1, 1])
        prefixes = Prefixes(Flow(decoder.embed(firsts), torch.tensor([6, 9])), owner)
        flow = Flow(decoder.embed(rest), torch.tensor(lengths) - torch.tensor(begins), torch.tensor(begins))
        layers = decoder.config.num_hidden_layers
        for number in range(layers):
            decoder.layer(number, flow, prefixes, last=number == layers - 1)
        found = decoder.norm(flow.last())
    expected = torch.stack([whole[row, length - 1] for row, length in enumerate(lengths)])
    assert torch.allclose(found, expected, atol=1e-5)


def test_without_the_cap_scores_are_other_ones(tmp_path: Path) -> None:
    decoder = decoder_of(write_causal(tmp_path, "gemma2"))
    ids = ids_of(1, 12)
    found = []
    for softcap in (True, False):
        flow = Flow(decoder.embed(ids), torch.tensor([12]))
        with torch.inference_mode():
            for number in range(decoder.config.num_hidden_layers):
                decoder.layer(number, flow, softcap=softcap)
        found.append(flow.states)
    assert not torch.allclose(*found, atol=1e-3)


def test_attention_of_the_last_token_is_that_of_transformers(tmp_path: Path) -> None:
    folder = write_causal(tmp_path, "mistral")
    decoder, ids, lengths = decoder_of(folder), ids_of(2, 14), [14, 10]
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        expected = model(ids, output_attentions=True).attentions[0]
        flow = Flow(decoder.embed(ids), torch.tensor(lengths))
        found = decoder.layer(0, flow, weigh=True)
    for row, length in enumerate(lengths):
        paid = expected[row, :, length - 1].sum(0)
        assert torch.allclose(found[row], paid, atol=1e-5)

"""FlagEmbedding's names, signatures, defaults and return shapes, as thin calls on `Embedder` and `Reranker`.

A FlagEmbedding script runs after changing ``from FlagEmbedding import ...`` to ``from lagotto import ...``. What is
different, on purpose:

- An unknown keyword raises, where FlagEmbedding sets it as an attribute that nobody reads.
- ``batch_size`` is accepted and has no effect: batches are planned by tokens.
- ``use_fp16=True`` means half precision where the device has it in hardware, bfloat16 before float16, else float32.
- ``devices=None`` is the CPU; a GPU, or several, must be named, and need the ``torch`` extra.
- ``trust_remote_code=True`` is accepted; code from a repository is never executed, a model that needs it is refused.
- `FlagLLMModel` checks that texts end with the token the model was trained with, and adds it with a warning where the
  tokenizer does not.
- `LightWeightFlagLLMReranker` reads each layer with its own head and caps attention, as the model was trained; several
  layers come in the order asked.
- A reranker's query is cut so that query and document always fit ``max_length``; FlagEmbedding's ``only_second``
  truncation fails there, and the model gets more tokens than it was trained for.

Source: FlagEmbedding 1.4.2, ``abc/inference/AbsEmbedder.py``, ``abc/inference/AbsReranker.py``, ``inference/``.
"""

from lagotto.flag.auto import FlagAutoModel
from lagotto.flag.encoders import FlagAutoReranker, FlagModel, FlagReranker
from lagotto.flag.llm import FlagICLModel, FlagLLMModel
from lagotto.flag.llm_rerankers import FlagLLMReranker, LayerWiseFlagLLMReranker, LightWeightFlagLLMReranker
from lagotto.flag.m3 import BGEM3FlagModel

__all__ = [
    "BGEM3FlagModel",
    "FlagAutoModel",
    "FlagAutoReranker",
    "FlagICLModel",
    "FlagLLMModel",
    "FlagLLMReranker",
    "FlagModel",
    "FlagReranker",
    "LayerWiseFlagLLMReranker",
    "LightWeightFlagLLMReranker",
]

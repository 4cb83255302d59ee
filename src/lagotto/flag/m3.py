"""`BGEM3FlagModel`: dense, sparse and multi-vector output by FlagEmbedding's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lagotto.cards.schema import Pooling
from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import SparseVectors
from lagotto.core.values import Embeddings
from lagotto.flag.shared import Devices, device_of, instructed, tensor_of
from lagotto.heads.similarity import lexical_matching_pairs, max_sim, max_sim_pairs, weighted
from lagotto.models.embedder import Embedder
from lagotto.models.inputs import checked_pairs
from lagotto.models.token_outputs import OutputName

_PAIRS = 512  # scored together, so that the token vectors of few texts are held at a time

Scores = NDArray[np.float32]
LexicalWeights = Mapping[str, float]
"""Token id, as a string, to weight."""


class BGEM3FlagModel:
    """FlagEmbedding's class for BGE-M3.

    ``encode`` gives a dictionary with ``dense_vecs`` (n, d), ``lexical_weights`` (a dictionary a text) and
    ``colbert_vecs`` (a (tokens, d) array a text); what was not asked for is None.

    Different on purpose: heads that are missing raise, where FlagEmbedding goes on with random ones; scores do not
    depend on what else is in a batch (FlagEmbedding's padding takes part in the maximum over tokens).
    """

    def __init__(
        self,
        model_name_or_path: str,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        query_instruction_format: str = "{}{}",
        devices: Devices = None,
        pooling_method: Pooling = "cls",
        trust_remote_code: bool = False,
        cache_dir: str | None = None,
        colbert_dim: int = -1,
        batch_size: int = 256,
        query_max_length: int = 512,
        passage_max_length: int = 512,
        return_dense: bool = True,
        return_sparse: bool = False,
        return_colbert_vecs: bool = False,
        convert_to_numpy: bool = True,
        truncate_dim: int | None = None,
        *,
        passage_instruction_for_retrieval: str | None = None,
        passage_instruction_format: str = "{}{}",
    ) -> None:
        if colbert_dim != -1:
            raise InvalidInputError(
                "colbert_dim makes a new random head in FlagEmbedding; the checkpoint's own is used"
            )
        self.model = Embedder(
            model_name_or_path,
            device=device_of(devices),
            precision="bf16" if use_bf16 else "auto" if use_fp16 else "f32",
            pooling=pooling_method,
            hub_cache_dir=cache_dir,
        )
        self.normalize_embeddings = normalize_embeddings
        self.query_instruction_for_retrieval = query_instruction_for_retrieval
        self.query_instruction_format = query_instruction_format
        self.passage_instruction_for_retrieval = passage_instruction_for_retrieval
        self.passage_instruction_format = passage_instruction_format
        self.batch_size = batch_size
        self.query_max_length = query_max_length
        self.passage_max_length = passage_max_length
        self.return_dense = return_dense
        self.return_sparse = return_sparse
        self.return_colbert_vecs = return_colbert_vecs
        self.convert_to_numpy = convert_to_numpy
        self.truncate_dim = truncate_dim

    def encode_queries(
        self,
        queries: str | list[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        return_dense: bool | None = None,
        return_sparse: bool | None = None,
        return_colbert_vecs: bool | None = None,
        convert_to_numpy: bool | None = None,
    ) -> dict[str, Any]:
        """As `encode`, with ``query_instruction_for_retrieval`` where it was given."""
        return self._encode(
            queries,
            max_length or self.query_max_length,
            (return_dense, return_sparse, return_colbert_vecs),
            convert_to_numpy,
            self.query_instruction_for_retrieval,
            self.query_instruction_format,
        )

    def encode_corpus(
        self,
        corpus: str | list[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        return_dense: bool | None = None,
        return_sparse: bool | None = None,
        return_colbert_vecs: bool | None = None,
        convert_to_numpy: bool | None = None,
    ) -> dict[str, Any]:
        """As `encode`, with ``passage_instruction_for_retrieval`` where it was given."""
        return self._encode(
            corpus,
            max_length or self.passage_max_length,
            (return_dense, return_sparse, return_colbert_vecs),
            convert_to_numpy,
            self.passage_instruction_for_retrieval,
            self.passage_instruction_format,
        )

    def encode(
        self,
        sentences: str | list[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        return_dense: bool | None = None,
        return_sparse: bool | None = None,
        return_colbert_vecs: bool | None = None,
        convert_to_numpy: bool | None = None,
    ) -> dict[str, Any]:
        """``dense_vecs``, ``lexical_weights`` and ``colbert_vecs``; for a string those of that one text."""
        flags = (return_dense, return_sparse, return_colbert_vecs)
        return self._encode(sentences, max_length or self.passage_max_length, flags, convert_to_numpy, None, "{}{}")

    def convert_id_to_token(
        self, lexical_weights: LexicalWeights | list[LexicalWeights]
    ) -> dict[str, float] | list[dict[str, float]]:
        """The same weights with the tokens' texts in place of their ids."""
        several = [lexical_weights] if isinstance(lexical_weights, Mapping) else lexical_weights
        named = [self.model.decode_tokens({int(key): value for key, value in one.items()}) for one in several]
        return named[0] if isinstance(lexical_weights, Mapping) else named

    def compute_lexical_matching_score(
        self,
        lexical_weights_1: LexicalWeights | list[LexicalWeights],
        lexical_weights_2: LexicalWeights | list[LexicalWeights],
    ) -> Any:
        """The sum over shared tokens of the product of their weights: a float, or an (n, m) array for two lists."""
        if isinstance(lexical_weights_1, Mapping) and isinstance(lexical_weights_2, Mapping):
            return _matching(lexical_weights_1, lexical_weights_2)
        if isinstance(lexical_weights_1, list) and isinstance(lexical_weights_2, list):
            return np.array([[_matching(a, b) for b in lexical_weights_2] for a in lexical_weights_1])
        raise InvalidInputError("give two dictionaries of weights, or two lists of them")

    def colbert_score(self, q_reps: NDArray[np.float32], p_reps: NDArray[np.float32]) -> Any:
        """The mean over the query's vectors of the best inner product with the passage's: a number."""
        return np.float32(max_sim(np.asarray(q_reps, np.float32), np.asarray(p_reps, np.float32)))

    def compute_score(
        self,
        sentence_pairs: Sequence[Sequence[str]] | Sequence[str],
        batch_size: int | None = None,
        max_query_length: int | None = None,
        max_passage_length: int | None = None,
        weights_for_different_modes: Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """``dense``, ``sparse``, ``colbert``, ``sparse+dense`` and ``colbert+sparse+dense`` scores of pairs, as lists.

        Weights are those of dense, sparse and multi-vector, 1 each by default. A single pair gives floats.
        """
        weights = [1.0, 1.0, 1.0] if weights_for_different_modes is None else list(weights_for_different_modes)
        if len(weights) != 3 or weights[0] + weights[1] <= 0:
            raise InvalidInputError(f"weights_for_different_modes is {weights}; give three, of dense, sparse, colbert")
        single = len(sentence_pairs) > 0 and isinstance(sentence_pairs[0], str)
        given = cast(Sequence[Sequence[str]], [sentence_pairs] if single else sentence_pairs)
        pairs = checked_pairs(given)
        parts: list[tuple[Scores, ...]] = []
        while chunk := list(islice(pairs, _PAIRS)):
            left = self._all([pair[0] for pair in chunk], max_query_length or self.query_max_length)
            right = self._all([pair[1] for pair in chunk], max_passage_length or self.passage_max_length)
            parts.append(_scores(left, right))
        columns = zip(*parts, strict=True) if parts else ([], [], [])
        dense, sparse, colbert = (np.concatenate([*found, np.zeros(0, np.float32)]) for found in columns)
        both = weighted(dense, sparse, colbert, (*weights[:2], 0))
        every = weighted(dense, sparse, colbert, weights)
        named = {"colbert": colbert, "sparse": sparse, "dense": dense, "sparse+dense": both}
        lists = {name: values.tolist() for name, values in (named | {"colbert+sparse+dense": every}).items()}
        return {name: values[0] for name, values in lists.items()} if single else lists

    def stop_self_pool(self) -> None:
        """Free the model; FlagEmbedding stops its worker processes here."""
        self.model.close()

    def _all(self, texts: Sequence[str], max_length: int) -> Embeddings:
        limit = min(max_length, self.model.max_length)
        outputs: tuple[OutputName, ...] = ("dense", "sparse", "multivector")
        return self.model.encode(texts, prompt="", max_length=limit, normalize=True, outputs=outputs)

    def _encode(
        self,
        sentences: str | list[str],
        max_length: int,
        flags: tuple[bool | None, bool | None, bool | None],
        convert_to_numpy: bool | None,
        instruction: str | None,
        template: str,
    ) -> dict[str, Any]:
        own = (self.return_dense, self.return_sparse, self.return_colbert_vecs)
        wanted = [mine if flag is None else flag for flag, mine in zip(flags, own, strict=True)]
        names: tuple[OutputName, ...] = ("dense", "sparse", "multivector")
        outputs = [name for name, asked in zip(names, wanted, strict=True) if asked]
        if not outputs:
            return {"dense_vecs": None, "lexical_weights": None, "colbert_vecs": None}
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        if instruction is not None:
            texts = [instructed(template, instruction, text) for text in texts]
        found = self.model.encode(
            texts,
            prompt="",
            dimensions=self.truncate_dim if "dense" in outputs else None,
            normalize=self.normalize_embeddings,
            max_length=min(max_length, self.model.max_length),
            outputs=outputs,
        )
        as_numpy = self.convert_to_numpy if convert_to_numpy is None else convert_to_numpy
        single = isinstance(sentences, str)
        dense = found.dense if "dense" in outputs else None
        lexical = None if found.sparse is None else [_named(found.sparse, i) for i in range(len(texts))]
        vectors = None if found.multivector is None else list(found.multivector)
        if not as_numpy:
            dense = None if dense is None else tensor_of(dense)
            vectors = None if vectors is None else [tensor_of(one) for one in vectors]
        values = {"dense_vecs": dense, "lexical_weights": lexical, "colbert_vecs": vectors}
        return {name: value[0] if single and value is not None else value for name, value in values.items()}


def _named(sparse: SparseVectors, index: int) -> dict[str, float]:
    return {str(number): weight for number, weight in cast(dict[int, float], sparse[index]).items()}


def _matching(left: LexicalWeights, right: LexicalWeights) -> float:
    return float(sum(weight * right.get(token, 0.0) for token, weight in left.items()))


def _scores(
    left: Embeddings, right: Embeddings
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Dense, sparse and multi-vector scores of text i of one side with text i of the other."""
    assert left.sparse is not None
    assert right.sparse is not None
    assert left.multivector is not None
    assert right.multivector is not None
    return (
        np.einsum("ij,ij->i", left.dense, right.dense),
        lexical_matching_pairs(left.sparse, right.sparse),
        max_sim_pairs(left.multivector, right.multivector),
    )

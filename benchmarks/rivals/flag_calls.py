"""The FlagEmbedding calls that flag_parity.py compares, made through either module: FlagEmbedding or lagotto.

    python rivals/flag_calls.py MODULE JOB.json OUT.npz

OUT holds each call's values, and the names of their types.
"""

import importlib
import json
import sys
from pathlib import Path

import numpy as np

module = importlib.import_module(sys.argv[1])
job = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
texts, queries, found = job["texts"], job["queries"], {}

model = module.FlagModel(
    job["model"], query_instruction_for_retrieval=job["instruction"], use_fp16=False, devices="cpu"
)
found["encode, list"] = model.encode(texts)
found["encode, one string"] = model.encode(texts[0])
found["encode, max_length 32"] = model.encode(texts, max_length=32)
found["encode_queries"] = model.encode_queries(queries)
found["encode_queries, one string"] = model.encode_queries(queries[0])
found["encode_corpus"] = model.encode_corpus(texts)
found["encode_corpus, one string"] = model.encode_corpus(texts[0])
plain = module.FlagModel(job["model"], normalize_embeddings=False, use_fp16=False, devices="cpu")
found["encode, not normalised"] = plain.encode(texts)

ranker = module.FlagReranker(job["reranker"], use_fp16=False, devices="cpu")
pairs = [(queries[0], text) for text in texts]
found["compute_score, list"] = ranker.compute_score(pairs)
found["compute_score, list, normalize"] = ranker.compute_score(pairs, normalize=True)
found["compute_score, list, max_length 64"] = ranker.compute_score(pairs, max_length=64)
found["compute_score, one pair"] = ranker.compute_score(list(pairs[0]))
found["compute_score, one pair, normalize"] = ranker.compute_score(list(pairs[0]), normalize=True)
found["compute_score, list of one pair"] = ranker.compute_score(pairs[:1])

types = {name: type(value).__name__ for name, value in found.items()}
arrays = {name: np.asarray(value) for name, value in found.items()}
np.savez(sys.argv[3], types=json.dumps(types), **arrays)

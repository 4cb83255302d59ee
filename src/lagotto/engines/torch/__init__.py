"""The engine for GPUs and for every architecture transformers builds: torch, one device a process.

`forward` runs transformers' modules; `pair_scores` runs LLM rerankers on the layers of `decoder`, which are our own.
The only package of Lagotto that imports transformers. `processes` imports neither it nor torch.
"""

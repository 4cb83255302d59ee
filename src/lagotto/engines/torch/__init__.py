"""The engine for GPUs and for every architecture transformers builds: torch, one device a process.

The only package of Lagotto that imports transformers. `processes` imports neither it nor torch.
"""

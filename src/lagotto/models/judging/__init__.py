"""Rerank by asking a language model: how it is asked, how its answers are read, what they cost."""

"""Data sets to evaluate on: retrieval collections and sets of pairs, read strictly from files."""

"""Floor 1: what a model is, as data, and where its files come from."""

"""Floor 4: what people call. `Embedder` and `Reranker`, and FlagEmbedding's names over them."""

"""Floor 5: finding documents: exact search, BM25, fusion."""

"""Floor 3: hidden states to sparse weights and token vectors, and the scores between them."""

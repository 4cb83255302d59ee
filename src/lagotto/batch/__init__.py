"""Floor 2: from texts to planned, padded batches of token ids."""

"""Floor 6: how good a model or a pipeline is, with honest statistics and what it costs; `lagotto.evaluate`."""

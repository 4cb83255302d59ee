"""Floor 3: ask a language model. `LLM` is the seam, `ChatEndpoint` speaks to an OpenAI-compatible server."""

"""The CPU engine: OpenVINO, with graphs built straight from a checkpoint's weights."""

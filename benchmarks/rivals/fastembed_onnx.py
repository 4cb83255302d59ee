"""fastembed with its defaults, on the exported f32 model, which is added as a custom one."""

import json
from pathlib import Path

import numpy as np
from common import Job, Pass, serve

NAME = "local/model"


def load(job: Job) -> Pass:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    source = ModelSource(url="http://localhost/not-fetched")
    if job.task == "encode":
        meta = json.loads((Path(job.onnx) / "export.json").read_text())
        pooling = PoolingType.CLS if meta["pooling"] == "cls" else PoolingType.MEAN
        TextEmbedding.add_custom_model(
            NAME, pooling=pooling, normalization=True, sources=source, dim=meta["dim"], model_file="model.onnx"
        )
        model = TextEmbedding(NAME, threads=job.threads, specific_model_path=job.onnx)
        return lambda texts: np.stack(list(model.embed(texts)))
    TextCrossEncoder.add_custom_model(NAME, sources=source, model_file="model.onnx")
    ranker = TextCrossEncoder(NAME, threads=job.threads, specific_model_path=job.onnx)
    return lambda pairs: np.array(list(ranker.rerank(pairs[0][0], [text for _, text in pairs])))


if __name__ == "__main__":
    serve(load, "fastembed")

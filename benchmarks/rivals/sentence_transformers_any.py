"""sentence-transformers: SentenceTransformer and CrossEncoder, on the torch, ONNX or OpenVINO backend of the options.

The ONNX and OpenVINO backends export the checkpoint once, untimed, into the job's cache folder, as their documentation
advises, and load it from there. OpenVINO picks its own precision: bf16 where the processor has it in hardware.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Job, Pass, serve

FILES = {"onnx": "onnx/model.onnx", "openvino": "openvino/openvino_model.xml"}


def folder(job: Job) -> Path:
    return Path(job.model) if job.options["backend"] == "torch" else Path(job.cache)


def settings(job: Job) -> dict[str, Any]:
    """Keyword arguments for the backend: the number of threads, and the type of the weights where one is asked for."""
    backend = job.options["backend"]
    if backend == "onnx":
        import onnxruntime

        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = job.threads
        return {"provider": "CPUExecutionProvider", "session_options": session}
    if backend == "openvino":
        return {"ov_config": {"INFERENCE_NUM_THREADS": str(job.threads)}}
    return {"dtype": getattr(torch, job.options["dtype"])} if "dtype" in job.options else {}


def make(job: Job, where: Path) -> Any:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    kind = SentenceTransformer if job.task == "encode" else CrossEncoder
    return kind(str(where), device="cpu", backend=job.options["backend"], model_kwargs=settings(job))


def prepare(job: Job) -> bool:
    target = folder(job)
    file = FILES.get(job.options["backend"])
    if file is None or (target / file).exists():
        return False
    model = make(job, Path(job.model))
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(str(target))
    if not (target / file).exists():
        raise FileNotFoundError(f"the export left no {file} in {target}")
    return True


def load(job: Job) -> Pass:
    torch.set_num_threads(job.threads)
    model = make(job, folder(job))
    run = model.encode if job.task == "encode" else model.predict
    return lambda items: np.asarray(run(items, show_progress_bar=False, convert_to_numpy=True), dtype=np.float32)


if __name__ == "__main__":
    serve(load, "sentence-transformers", prepare)

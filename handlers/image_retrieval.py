"""TorchServe's door: a batch of requests in, a list of answers out.

One bad request of a batch is answered for itself and the others get their results.  What a caller
sent reaches the JSON of an answer only, never a header or a status phrase: TorchServe's worker dies
of a newline there.
"""

import logging
import os
import time
from pathlib import Path

import faiss
import numpy as np
import torch

from handlers import PACKED_VERSION
from handlers.metrics import Metrics
from handlers.request import (
    DEFAULT_TOP_K,
    MOST_DIVERSITY,
    MOST_TOP_K,
    Query,
    RequestError,
    parse,
)
from hashing import settings
from hashing.codes import pack
from hashing.picture import PictureError
from searcher.live import Follower, Serving

_PHRASES = {400: "Bad Request", 413: "Content Too Large", 500: "Internal Server Error"}

log = logging.getLogger(__name__)


class ImageRetrievalHandler:
    """Answers image queries from the live version of the index, or from the packed one."""

    def initialize(self, context) -> None:
        """Called once a worker.  EFISS_INDEX: the index folder to follow (absolute); without it the
        version in the archive is served.  Raises when there is nothing to serve."""
        _quieten()
        properties = context.system_properties
        torch.set_num_threads(1)  # workers are the parallelism; more threads make them fight
        faiss.omp_set_num_threads(1)
        self._max_pixels = settings.max_pixels()
        root = os.environ.get("EFISS_INDEX")
        packed = Path(properties["model_dir"]) / PACKED_VERSION
        self._follower = Follower(
            Path(root) if root else None, packed if packed.is_dir() else None, _device(properties)
        )
        self._follower.watch()
        self._metrics = Metrics(context)
        serving = self._follower.serving
        log.info("serving index version %s, %d rows", serving.version, serving.index.manifest.rows)

    def handle(self, batch: list[dict], context) -> list[dict]:
        """Answers of a batch, in its order."""
        start = time.perf_counter()
        serving = self._follower.serving  # one version for the whole batch, whatever is activated
        answers: list[dict | None] = [None] * len(batch)
        queries, pixels = {}, {}
        for i, row in enumerate(batch):
            try:
                if context.get_request_header(i, "describe") == "True":
                    answers[i] = self.describe_handle()
                    continue
                queries[i] = parse(row)
                pixels[i] = serving.model.pixels(queries[i].image, self._max_pixels)
            except Exception as error:  # whatever one caller did, the others get their answers
                answers[i] = _refusal(error, context, i)
        if pixels:
            outputs = serving.model.outputs(np.stack(list(pixels.values())))
            for i, output in zip(pixels, outputs, strict=True):
                answers[i] = _answer(serving, queries[i], output)
        for i in range(len(batch)):
            context.set_response_content_type(i, "application/json")
            context.set_response_header(i, "x-index-version", serving.version)
        self._metrics.count(answers, time.perf_counter() - start)
        return answers

    def describe_handle(self) -> dict:
        """What is served, for `GET /models/image-retrieval-v1.0?customized=true`."""
        serving = self._follower.serving
        manifest = serving.index.manifest
        return {
            "index_database_version": manifest.version,
            "rows": manifest.rows,
            "index_mode": manifest.index_mode,
            "created": manifest.created,
            "model": manifest.model,
            "limits": {
                "top_k": {"default": DEFAULT_TOP_K, "lowest": 1, "highest": MOST_TOP_K},
                "diversity": {"default": 1, "lowest": 1, "highest": MOST_DIVERSITY},
                "max_pixels": self._max_pixels,
            },
        }


def _answer(serving: Serving, query: Query, outputs: np.ndarray) -> dict:
    """outputs: the model's for this query, float32 [64]."""
    wanted = (query.top_k - 1) * query.diversity + 1
    outputs = outputs[None]
    rows, distances = serving.index.search(
        pack(outputs), min(wanted, serving.index.manifest.rows), outputs
    )
    rows, distances = rows[0, :: query.diversity], distances[0, :: query.diversity]
    answer = {
        "index_database_version": serving.version,
        "relevant": [serving.index.path(row) for row in rows],
    }
    if query.debug:
        answer["distances"] = distances.tolist()
    return answer


def _refusal(error: Exception, context, i: int) -> dict:
    if isinstance(error, RequestError):
        status, kind, message = error.status, error.kind, str(error)
    elif isinstance(error, PictureError):
        status = 413 if error.kind == "too_many_pixels" else 400
        kind, message = error.kind, str(error)
    else:
        log.exception("a request failed for a reason that is not the caller's")
        status, kind = 500, "internal_error"
        message = "the service failed to answer this request; its log says why"
    context.set_response_status(status, _PHRASES[status], i)
    return {"code": status, "type": kind, "message": message}


def _quieten() -> None:
    """TorchServe's worker logs a line or more a request that says nothing; its metrics are log
    lines too and must go on."""
    logging.getLogger().setLevel(logging.WARNING)
    for name in ("ts.metrics", "searcher", __name__):
        logging.getLogger(name).setLevel(logging.INFO)


def _device(properties: dict) -> str:
    gpu = properties.get("gpu_id")
    return f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"

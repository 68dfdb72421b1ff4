"""TorchServe's door: a batch of requests in, a list of answers out.

One bad request of a batch is answered for itself and the others get their results.  What a caller
sent reaches the JSON of an answer only, never a header or a status phrase: TorchServe's worker dies
of a newline there.
"""

import dataclasses
import json
import logging
import os
import time
from pathlib import Path

import faiss
import torch

from handlers import PACKED_VERSION, WATCH_HEADER, handed
from handlers.answer import Job, answer, begin, run_model, timed
from handlers.body import RequestError
from handlers.metrics import Metrics
from handlers.record import Record, record_of
from handlers.request import (
    DEEPEST_HIT,
    LEAST_SIDE,
    MOST_SHOPS,
    RANGES,
    Query,
    parse,
)
from hashing.model import ModelError
from hashing.picture import PictureError
from machine import settings
from machine.processes import reuse_freed_memory
from searcher import milvus
from searcher.index import Index
from searcher.live import Follower, Serving, StillOpening, UnknownVersion
from searcher.milvus import Unavailable
from searcher.version import VersionError

_PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

log = logging.getLogger(__name__)


class ImageRetrievalHandler:
    """Answers queries from the live version of the index, from the packed one, or from the one that
    a query pins."""

    def initialize(self, context) -> None:
        """Called once a worker.  EFISS_INDEX: the index folder to follow (absolute); without it the
        version in the archive is served.  Raises when there is nothing to serve."""
        _quieten()
        reuse_freed_memory()
        properties = context.system_properties
        # The worker asks at each request: without this it parses JSON before anything bounds it.
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
        torch.set_num_threads(1)  # workers are the parallelism; more threads make them fight
        faiss.omp_set_num_threads(1)
        self._max_pixels = settings.max_pixels()
        root = settings.INDEX.value()
        packed = Path(properties["model_dir"]) / PACKED_VERSION
        self._follower = Follower(
            Index(root) if root else None,
            packed if packed.is_dir() else None,
            _device(properties),
            milvus.place(),
        )
        self._rank = settings.RANK.value()
        self._access_log = settings.ACCESS_LOG.value() == "on"
        self._metrics = Metrics(context)
        self._metrics.start()
        self._follower.watch(self._metrics.serving)
        serving = self._follower.serving
        log.info("serving index version %s, %d rows", serving.version, serving.opened.manifest.rows)

    def handle(self, batch: list[dict], context) -> list[dict]:
        """Answers of a batch, in its order."""
        start = time.perf_counter()
        live = self._follower.serving  # one for the whole batch, whatever is activated
        answers: list[dict] = [{}] * len(batch)  # empty until there is one
        times: list[dict[str, float]] = [{} for _ in batch]
        jobs: list[Job | None] = [None] * len(batch)
        for i, row in enumerate(batch):
            try:
                if context.get_request_header(i, "describe") == "True":
                    answers[i] = self.describe_handle()
                else:
                    with timed(times[i], "parse"):
                        query = _query(row, self._rank, context.get_all_request_header(i))
                    jobs[i] = job = Job(query, live, times[i])
                    self._begin(job)
            except Exception as error:  # whatever one caller did, the others get their answers
                answers[i] = _refusal(error, context, i)
        for same_model in _by_model(jobs, answers):
            try:
                run_model(list(same_model.values()))
            except Exception as error:
                for i in same_model:
                    answers[i] = _refusal(error, context, i)
        for i, job in _unanswered(jobs, answers):
            try:
                answers[i] = answer(job)
            except Exception as error:
                answers[i] = _refusal(error, context, i)
        for i in range(len(batch)):
            version = answers[i].get("index_database_version", live.version)
            context.set_response_content_type(i, "application/json")
            context.set_response_header(i, "x-index-version", version)
        seconds = time.perf_counter() - start
        records = [
            record_of(context, i, job, live.version, ms, answer, seconds)
            for i, (job, ms, answer) in enumerate(zip(jobs, times, answers, strict=True))
            if context.get_request_header(i, WATCH_HEADER) is None
        ]
        self._tell(records, seconds)
        return answers

    def _begin(self, job: Job) -> None:
        with timed(job.ms, "version"):
            if job.query.version is not None:
                job.serving = self._pinned(job.query.version)
        begin(job, self._max_pixels)

    def _tell(self, records: list[Record], seconds: float) -> None:
        """Count the requests of a batch, and leave a line for each in the log."""
        self._metrics.count(records, seconds)
        if self._access_log:
            for record in records:
                log.info("%s", json.dumps(vars(record)))

    def _pinned(self, version: str) -> Serving:
        """Raises RequestError when the version cannot answer."""
        try:
            return self._follower.pinned(version)
        except UnknownVersion as error:
            raise RequestError(404, "unknown_version", str(error)) from None
        except StillOpening as error:
            raise RequestError(503, "version_opening", str(error)) from None
        except (VersionError, ModelError, OSError) as error:
            # Its reason names files of this machine, which are not the caller's to know.
            log.error("pinned index version %s refused: %s", version, error)
            raise RequestError(
                409,
                "damaged_version",
                f"version {version} is damaged and answers nothing; ask for another one, or "
                "without index_database_version for the live one",
            ) from None

    def describe_handle(self) -> dict:
        """What is served, for `GET /models/image-retrieval-v1.0?customized=true`."""
        serving = self._follower.serving
        manifest = serving.opened.manifest
        return {
            "index_database_version": manifest.version,
            "rows": manifest.rows,
            "index_mode": manifest.index_mode,
            "created": manifest.created,
            "model": manifest.model,
            "search": manifest.search,
            "ways": serving.opened.ways,
            "limits": {
                **{name: dataclasses.asdict(allowed) for name, allowed in RANGES.items()},
                "deepest_hit": DEEPEST_HIT,
                "shops": MOST_SHOPS,
                "box_side": LEAST_SIDE,
                "max_pixels": self._max_pixels,
            },
        }


def _query(row: dict, rank: str, headers: dict) -> Query:
    """Raises RequestError."""
    body = handed.taken(headers)
    return parse(row if body is None else {"body": body}, rank, headers)


def _unanswered(jobs: list[Job | None], answers: list[dict]) -> list[tuple[int, Job]]:
    """The requests that were understood and have no answer yet, by their place in the batch."""
    return [(i, job) for i, job in enumerate(jobs) if job and not answers[i]]


def _by_model(jobs: list[Job | None], answers: list[dict]) -> list[dict[int, Job]]:
    """The requests with a picture, those together that one model looks at."""
    groups: dict[int, dict[int, Job]] = {}
    for i, job in _unanswered(jobs, answers):
        if job.pixels is not None:
            groups.setdefault(id(job.serving.model), {})[i] = job
    return list(groups.values())


def _refusal(error: Exception, context, i: int) -> dict:
    if isinstance(error, RequestError):
        status, kind, message = error.status, error.kind, str(error)
    elif isinstance(error, PictureError):
        status = 413 if error.kind == "too_many_pixels" else 400
        kind, message = error.kind, str(error)
    elif isinstance(error, Unavailable):
        log.error("%s", error)  # where Milvus is is not the caller's to know
        status, kind = 503, "search_unavailable"
        message = "the search behind this service does not answer now; ask again in a moment"
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

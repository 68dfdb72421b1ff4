"""Milvus, for catalogues that do not fit one machine: where it is, and a version's collection.

    efiss_1_5_0             collection of version 1.5.0; its description says of which build
        row   INT64         primary key: the row in the version
        code  BINARY_VECTOR dim 64, metric HAMMING, index BIN_FLAT (exact)
        bits  INT64         the code again: a search returns scalars only
        path, shop  VARCHAR percent-encoded (RFC 3986), so that any bytes can be kept and asked for
        product     INT64   rows of one product have the same number
    efiss_live              alias of the collection of the live version, where Milvus has aliases

The version's folder stays what the collection is made from, and `CURRENT` what services follow.
`searcher.milvus_publish` makes collections, `searcher.milvus_version` answers from them.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import logging
import os
import time
import types
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np

from hashing.codes import CODE_BYTES
from machine import settings
from machine.errors import Problem
from searcher.version import Manifest, VersionError, read_manifest

CONNECT_SECONDS, OPEN_SECONDS = 10, 120
PAUSE_SECONDS = 2
"""How long queries are refused at once after one that got no answer, so that they do not queue."""
NOT_INSTALLED = "the package for Milvus is missing; install it: pip install 'efiss-ai[milvus]'"


class Unavailable(Problem):
    """Milvus does not answer, or answers with an error; the message says which."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where Milvus is.  Raises SettingError."""

    uri: str
    """`http://host:19530`, `https://…` (with `/NAME` at the end, its database NAME), or the
    absolute path of a `.db` file for milvus-lite."""
    token: str = dataclasses.field(default="", repr=False)
    """`user:password` or an API key, empty without authentication."""

    def __post_init__(self) -> None:
        settings.MILVUS_URI.checked(self.uri, "EFISS_MILVUS_URI (--uri)")

    @property
    def is_file(self) -> bool:
        return not self.uri.startswith("http")


def place(backend: str | None = None, uri: str | None = None) -> Place | None:
    """Where versions are searched when it is Milvus that searches them, else None.

    What is not given is EFISS_BACKEND (faiss, which is the default, or milvus), EFISS_MILVUS_URI;
    the token is EFISS_MILVUS_TOKEN.  Raises SettingError.
    """
    if (backend or settings.BACKEND.value()) == "faiss":
        return None
    return Place(uri or settings.MILVUS_URI.value() or "", settings.MILVUS_TOKEN.value() or "")


class Asking:
    """Around calls to Milvus: what they raise becomes Unavailable, with one sentence.

    A call that ended without an answer makes those of the next PAUSE_SECONDS fail at once: the
    requests of a batch, one after the other, would else wait longer than TorchServe does.
    """

    def __init__(self, where: Place):
        self._where, self._refuse_until = where, 0.0

    def __enter__(self) -> None:
        if not _is_installed(self._where):
            raise VersionError(NOT_INSTALLED)
        if time.monotonic() < self._refuse_until:
            raise Unavailable(f"Milvus at {self._where.uri} did not answer a moment ago")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        import grpc
        from pymilvus import MilvusException

        if not isinstance(error, MilvusException | grpc.RpcError):
            return
        code = error.code() if isinstance(error, grpc.RpcError) else error.code
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            self._refuse_until = time.monotonic() + PAUSE_SECONDS
        reason = error.details() if isinstance(error, grpc.RpcError) else error.message
        raise Unavailable(
            f"Milvus at {self._where.uri} does not answer as it should: "
            + (str(reason).strip().splitlines() or ["no reason given"])[0][:300]
            + ("; one process at a time can open a .db file" if self._where.is_file else "")
        ) from error


def _is_installed(where: Place) -> bool:
    names = ["pymilvus", "milvus_lite"] if where.is_file else ["pymilvus"]
    return all(importlib.util.find_spec(name) for name in names)


@functools.lru_cache
def connect(where: Place) -> Any:
    """The client of this process, which reconnects by itself; safe to use from several threads."""
    from pymilvus import MilvusClient

    # milvus-lite 2.5 imports it, and there is no newer one with binary vectors.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback for each error
    return MilvusClient(uri=where.uri, token=where.token, timeout=CONNECT_SECONDS)


# -- the collection of a version -----------------------------------------------------------------


def collection_of(version: str) -> str:
    """The name of a version's collection; Milvus allows letters, digits and `_`."""
    return "efiss_" + version.replace(".", "_")


def check(folder: Path, where: Place) -> None:
    """Raise VersionError unless the version in `folder` is completely published; Unavailable."""
    with Asking(where):
        check_complete(connect(where), read_manifest(folder))


def check_complete(client: Any, manifest: Manifest) -> None:
    """Raise VersionError unless the version's collection holds all of its rows.

    Rows are numbered from 0 and the number is the primary key, so that many are all of them."""
    name, again = collection_of(manifest.version), f"run `efiss publish {manifest.version}`"
    if not client.has_collection(name, timeout=OPEN_SECONDS):
        raise VersionError(f"Milvus has no collection {name}; {again}")
    found = client.describe_collection(name, timeout=OPEN_SECONDS)
    if found["description"] != mark_of(manifest):
        raise VersionError(
            f"the collection {name} was made from another build of the version; {again} --force"
        )
    client.load_collection(name, timeout=OPEN_SECONDS)
    if (rows := count(client, name)) != manifest.rows:
        raise VersionError(
            f"the collection {name} holds {rows} of {manifest.rows} rows; {again} to complete it"
        )


def count(client: Any, name: str) -> int:
    found = client.query(
        name,
        filter="",
        output_fields=["count(*)"],
        consistency_level="Strong",
        timeout=OPEN_SECONDS,
    )
    return int(found[0]["count(*)"])


def mark_of(manifest: Manifest) -> str:
    """Tells builds of a version apart."""
    content = json.dumps(dataclasses.asdict(manifest), sort_keys=True).encode()
    return f"efiss {manifest.version} {hashlib.sha256(content).hexdigest()}"


def text_of(path: str) -> str:
    """Any bytes as ASCII without quotes and backslashes: fit for a VARCHAR and an expression."""
    return quote(os.fsencode(path))


def path_of(text: str) -> str:
    """The path, or the name, again."""
    return os.fsdecode(unquote_to_bytes(text))


def bits_of(codes: np.ndarray) -> np.ndarray:
    """Codes as numbers: uint8 [n, 8] -> int64 [n]."""
    return np.ascontiguousarray(codes).view(">i8")[:, 0]


def codes_of(bits: list[int]) -> np.ndarray:
    """The codes again: uint8 [n, 8]."""
    return np.array(bits, ">i8").view(np.uint8).reshape(-1, CODE_BYTES)

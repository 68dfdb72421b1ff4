"""A version as a collection in Milvus, for catalogues that do not fit one machine.

    efiss_1_5_0             collection of version 1.5.0; its description says of which build
        row   INT64         primary key: the row in the version
        code  BINARY_VECTOR dim 64, metric HAMMING, index BIN_FLAT (exact)
        bits  INT64         the code again: a search returns scalars only
        path, shop  VARCHAR percent-encoded (RFC 3986), so that any bytes can be kept and asked for
        product     INT64   rows of one product have the same number
    efiss_live              alias of the collection of the live version, where Milvus has aliases

The version's folder stays what the collection is made from, and `CURRENT` what services follow.
To answer, a service needs the manifest and the model of the folder; the rest comes from Milvus.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np

from hashing.codes import CODE_BITS, CODE_BYTES
from machine import settings
from machine.errors import Problem
from searcher.index import Index
from searcher.search import OpenVersion, Selection, in_order
from searcher.version import Manifest, VersionError, open_index, read_manifest

ALIAS = "efiss_live"
BATCH = 5000
"""Rows that are published at once."""
MOST_HITS = 10_000
"""Rows that are asked for at once, at most: Milvus returns 16,384, milvus-lite one less."""
SPARE_HITS = 64
"""Asked for beyond those wanted: most often they hold all that are as near as the last one."""
CONNECT_SECONDS, OPEN_SECONDS, PUBLISH_SECONDS = 10, 120, 300
QUERY_SECONDS = 3
"""Of one call while a query is answered, which takes a few of them; TorchServe gives up at 20."""
PAUSE_SECONDS = 2
"""How long queries are refused at once after one that got no answer, so that they do not queue."""
NOT_INSTALLED = "the package for Milvus is missing; install it: pip install 'efiss-ai[milvus]'"

log = logging.getLogger(__name__)


class Unavailable(Problem):
    """Milvus does not answer, or answers with an error; the message says which."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where Milvus is.  uri: `http://host:19530`, `https://…` (with `/NAME` at the end, its
    database NAME), or the absolute path of a `.db` file for milvus-lite.  token: `user:password` or
    an API key, empty without authentication.  Raises SettingError."""

    uri: str
    token: str = dataclasses.field(default="", repr=False)

    def __post_init__(self):
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


# -- publishing ----------------------------------------------------------------------------------


def publish(
    index: Index,
    version: str,
    where: Place,
    replace: bool = False,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Make a complete collection of a version; returns how many rows had to be sent for that.

    A collection that is complete is left as it is; one that an earlier run left half-made is
    continued.  replace: a collection of this name that holds something else is replaced.  show: is
    called with rows done and rows in all.  Raises VersionError, Unavailable.
    """
    folder = index.verified(version)
    manifest = read_manifest(folder)
    nearest, columns = open_index(folder, manifest)
    shops = [_text(name) for name in columns.shops]
    name = collection_of(version)
    with _Asking(where):
        client = _connect(where)
        _prepare(client, manifest, replace)
        # Batches are sent in order, each after the one before was acknowledged.
        first = _count(client, name)
        if first < manifest.rows:
            first = first // BATCH * BATCH
        for start in range(first, manifest.rows, BATCH):
            show(start, manifest.rows)
            rows = np.arange(start, min(start + BATCH, manifest.rows))
            codes = nearest.codes[rows[0] : rows[-1] + 1]
            fields = zip(
                rows.tolist(),
                codes,
                _bits(codes).tolist(),
                columns.shop_of(rows).tolist(),
                columns.product_of(rows).tolist(),
                strict=True,
            )
            # upsert, not insert, which would keep a row that is sent again twice.
            client.upsert(
                name,
                [
                    {
                        "row": row,
                        "code": code.tobytes(),
                        "bits": bits,
                        "path": _text(columns.path(row)),
                        "shop": shops[shop],
                        "product": product,
                    }
                    for row, code, bits, shop, product in fields
                ],
                timeout=PUBLISH_SECONDS,
            )
        show(manifest.rows, manifest.rows)
        if first < manifest.rows:
            client.flush(name, timeout=PUBLISH_SECONDS)
        _check_complete(client, manifest)
    return manifest.rows - first


def check(index: Index, version: str, where: Place) -> None:
    """Raise VersionError unless the version is completely published; Unavailable."""
    MilvusVersion(index.folder(version), where)


def point_alias(where: Place, version: str) -> None:
    """Let the alias name the version's collection.  Raises Unavailable."""
    with _Asking(where):
        _point_alias(_connect(where), collection_of(version))


def collection_of(version: str) -> str:
    """The name of a version's collection; Milvus allows letters, digits and `_`."""
    return "efiss_" + version.replace(".", "_")


def _prepare(client, manifest: Manifest, replace: bool) -> None:
    """A collection of this version, complete or not, and loaded."""
    name = collection_of(manifest.version)
    if client.has_collection(name, timeout=OPEN_SECONDS):
        found = client.describe_collection(name, timeout=OPEN_SECONDS)
        if found["description"] == _mark(manifest):
            client.load_collection(name, timeout=OPEN_SECONDS)
            return
        if not replace:
            raise VersionError(
                f"the collection {name} was made from another build of version {manifest.version} "
                "or by another catalogue; replace it with --force, or give this catalogue a "
                "database of its own, http://HOST:PORT/NAME"
            )
        if ALIAS in found["aliases"]:
            raise VersionError(
                f"the collection {name} is live and is not replaced; activate another version first"
            )
        client.drop_collection(name, timeout=OPEN_SECONDS)
    _create(client, name, _mark(manifest))


def _create(client, name: str, description: str) -> None:
    from pymilvus import DataType

    schema = client.create_schema(
        auto_id=False, enable_dynamic_field=False, description=description
    )
    schema.add_field("row", DataType.INT64, is_primary=True)
    schema.add_field("code", DataType.BINARY_VECTOR, dim=CODE_BITS)
    schema.add_field("bits", DataType.INT64)
    schema.add_field("path", DataType.VARCHAR, max_length=65535)
    schema.add_field("shop", DataType.VARCHAR, max_length=65535)
    schema.add_field("product", DataType.INT64)
    index = client.prepare_index_params()
    index.add_index("code", index_type="BIN_FLAT", metric_type="HAMMING")
    client.create_collection(name, schema=schema, index_params=index, timeout=OPEN_SECONDS)


def _point_alias(client, collection: str) -> None:
    import grpc
    from pymilvus import MilvusException

    try:
        client.alter_alias(collection, ALIAS, timeout=OPEN_SECONDS)
    except MilvusException:  # there is none yet, or what follows says what is wrong
        client.create_alias(collection, ALIAS, timeout=OPEN_SECONDS)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNIMPLEMENTED:
            raise
        # milvus-lite has no aliases: CURRENT alone names the live version.


def _check_complete(client, manifest: Manifest) -> None:
    """Raise VersionError unless the version's collection holds all of its rows.

    Rows are numbered from 0 and the number is the primary key, so that many are all of them."""
    name, again = collection_of(manifest.version), f"run `efiss publish {manifest.version}`"
    if not client.has_collection(name, timeout=OPEN_SECONDS):
        raise VersionError(f"Milvus has no collection {name}; {again}")
    found = client.describe_collection(name, timeout=OPEN_SECONDS)
    if found["description"] != _mark(manifest):
        raise VersionError(
            f"the collection {name} was made from another build of the version; {again} --force"
        )
    client.load_collection(name, timeout=OPEN_SECONDS)
    if (count := _count(client, name)) != manifest.rows:
        raise VersionError(
            f"the collection {name} holds {count} of {manifest.rows} rows; {again} to complete it"
        )


def _count(client, name: str) -> int:
    found = client.query(
        name,
        filter="",
        output_fields=["count(*)"],
        consistency_level="Strong",
        timeout=OPEN_SECONDS,
    )
    return int(found[0]["count(*)"])


def _mark(manifest: Manifest) -> str:
    """Tells builds of a version apart."""
    content = json.dumps(dataclasses.asdict(manifest), sort_keys=True).encode()
    return f"efiss {manifest.version} {hashlib.sha256(content).hexdigest()}"


# -- searching -----------------------------------------------------------------------------------


class MilvusVersion(OpenVersion):
    """A version opened for search in its collection; answers as `OpenVersion` does, always exactly,
    and raises Unavailable besides, from every method."""

    def __init__(self, folder: Path, where: Place):
        """folder: needs to hold the manifest only.  Raises VersionError when the collection is not
        there, is of another build or incomplete; Unavailable."""
        self.manifest = read_manifest(folder)
        self._asking = _Asking(where)
        self._name = collection_of(self.manifest.version)
        with self._asking:
            self._client = _connect(where)
            _check_complete(self._client, self.manifest)

    def paths(self, rows: np.ndarray) -> list[str]:
        """The paths of rows as the catalogue spells them."""
        return [os.fsdecode(unquote_to_bytes(path)) for path in self._column("path", rows)]

    def path(self, row: int) -> str:
        """The path of one row; `paths` asks once for many."""
        return self.paths(np.array([row]))[0]

    def row(self, path: str) -> int | None:
        """The row of a path, the first if there are several."""
        found = self._ask("query", filter=f'path == "{_text(path)}"', output_fields=["row"])
        return min((each["row"] for each in found), default=None)

    def code(self, row: int) -> np.ndarray:
        """The code of a row: uint8 [8]."""
        return _codes(self._column("bits", np.array([row])))[0]

    @property
    def ways(self) -> dict[str, int]:
        """Empty: how Milvus finds an answer it does not tell."""
        return {}

    def _ranked(self, code, count, outputs, farthest=CODE_BITS, among=""):
        if among is None:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        rows, distances, codes = self._nearest_rows(code, count, farthest, among)
        return in_order(rows, distances, count, outputs, codes)

    def _product_of(self, rows: np.ndarray) -> np.ndarray:
        return np.array(self._column("product", rows), np.int64)

    def _among(self, selection: Selection) -> str | None:  # type: ignore[override]  # its own form
        """The rows of the selected shops, as an expression; None when no row is selected."""
        excluded = sorted(map(_text, selection.exclude_shops))
        if selection.shops is None:
            return f"shop not in {json.dumps(excluded)}" if excluded else ""
        shops = sorted(set(map(_text, selection.shops)) - set(excluded))
        return f"shop in {json.dumps(shops)}" if shops else None

    def _nearest_rows(self, code, wanted: int, farthest: int, among: str):
        """Rows, distances and codes, in no order: the wanted nearest up to distance `farthest`, or
        all if they are fewer, and those as near as the last of them."""
        limit = min(wanted + SPARE_HITS, MOST_HITS)
        found = self._hits(code, limit, farthest, among)
        distances = found[1]
        if len(distances) < limit or (wanted <= limit and distances[wanted - 1] < distances[-1]):
            return found
        # Milvus cuts through rows of equal distance as it likes: ask for all of that distance.
        radius = int(distances[min(wanted, limit) - 1])
        while True:
            found = self._within(code, radius, among, 0, self.manifest.rows)
            if len(found[0]) >= wanted or radius == farthest:
                return found
            radius += 1

    def _within(self, code, radius: int, among: str, first: int, end: int):
        """All rows of first <= row < end up to a distance; by halves where they are too many."""
        part = f"row >= {first} and row < {end}"
        found = self._hits(code, MOST_HITS, radius, f"{among} and {part}" if among else part)
        if len(found[0]) < MOST_HITS or end - first <= MOST_HITS:
            return found
        middle = (first + end) // 2
        halves = (
            self._within(code, radius, among, first, middle),
            self._within(code, radius, among, middle, end),
        )
        return tuple(np.concatenate(pair) for pair in zip(*halves, strict=True))

    def _hits(self, code, limit: int, radius: int, condition: str):
        """The nearest rows up to a distance, at most `limit`, nearest first: rows int64 [f],
        distances in bits int32 [f], codes uint8 [f, 8]."""
        params = {"radius": radius + 1} if radius < CODE_BITS else {}  # Milvus: less than radius
        (hits,) = self._ask(
            "search",
            data=[code.tobytes()],
            anns_field="code",
            limit=limit,
            filter=condition,
            search_params={"metric_type": "HAMMING", "params": params},
            output_fields=["bits"],
        )
        rows = np.array([hit["id"] for hit in hits], np.int64)
        distances = np.array([hit["distance"] for hit in hits], np.int32)
        return rows, distances, _codes([hit["entity"]["bits"] for hit in hits])

    def _column(self, field: str, rows: np.ndarray) -> list:
        """A scalar field of rows, in their order."""
        values: dict[int, Any] = {}
        for start in range(0, len(rows), MOST_HITS):
            part = rows[start : start + MOST_HITS].tolist()
            found = self._ask("query", filter=f"row in {part}", output_fields=["row", field])
            values |= {each["row"]: each[field] for each in found}
        try:
            return [values[row] for row in rows.tolist()]
        except KeyError as error:
            raise Unavailable(f"the collection {self._name} has lost row {error}") from None

    def _ask(self, method: str, **arguments):
        with self._asking:
            return getattr(self._client, method)(self._name, timeout=QUERY_SECONDS, **arguments)


def open_version(folder: Path, where: Place) -> MilvusVersion:
    """Open the version in `folder` for search in Milvus.  Raises VersionError, Unavailable."""
    return MilvusVersion(folder, where)


class _Asking:
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

    def __exit__(self, kind, error, traceback) -> None:
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
def _connect(where: Place):
    """The client of this process, which reconnects by itself; safe to use from several threads."""
    from pymilvus import MilvusClient

    # milvus-lite 2.5 imports it, and there is no newer one with binary vectors.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback for each error
    return MilvusClient(uri=where.uri, token=where.token, timeout=CONNECT_SECONDS)


def _text(path: str) -> str:
    """Any bytes as ASCII without quotes and backslashes: fit for a VARCHAR and an expression."""
    return quote(os.fsencode(path))


def _bits(codes: np.ndarray) -> np.ndarray:
    """Codes as numbers: uint8 [n, 8] -> int64 [n]."""
    return np.ascontiguousarray(codes).view(">i8")[:, 0]


def _codes(bits: list[int]) -> np.ndarray:
    """The codes again: uint8 [n, 8]."""
    return np.array(bits, ">i8").view(np.uint8).reshape(-1, CODE_BYTES)

"""A version made a collection in Milvus, complete or continued, and the alias of the live one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hashing.codes import CODE_BITS
from searcher.index import Index
from searcher.milvus import (
    OPEN_SECONDS,
    Asking,
    Place,
    bits_of,
    check_complete,
    collection_of,
    connect,
    count,
    mark_of,
    text_of,
)
from searcher.version import Manifest, VersionError, open_index, read_manifest

ALIAS = "efiss_live"
BATCH = 5000
"""Rows that are published at once."""
PUBLISH_SECONDS = 300
"""Of one batch."""


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
    shops = [text_of(name) for name in columns.shops]
    name = collection_of(version)
    with Asking(where):
        client = connect(where)
        _prepare(client, manifest, replace)
        # Batches are sent in order, each after the one before was acknowledged.
        first = count(client, name)
        if first < manifest.rows:
            first = first // BATCH * BATCH
        for start in range(first, manifest.rows, BATCH):
            show(start, manifest.rows)
            rows = np.arange(start, min(start + BATCH, manifest.rows))
            codes = nearest.codes[rows[0] : rows[-1] + 1]
            fields = zip(
                rows.tolist(),
                codes,
                bits_of(codes).tolist(),
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
                        "path": text_of(columns.path(row)),
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
        check_complete(client, manifest)
    return manifest.rows - first


def point_alias(where: Place, version: str) -> None:
    """Let the alias name the version's collection.  Raises Unavailable."""
    with Asking(where):
        _point_alias(connect(where), collection_of(version))


def _prepare(client: Any, manifest: Manifest, replace: bool) -> None:
    """A collection of this version, complete or not, and loaded."""
    name = collection_of(manifest.version)
    if client.has_collection(name, timeout=OPEN_SECONDS):
        found = client.describe_collection(name, timeout=OPEN_SECONDS)
        if found["description"] == mark_of(manifest):
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
    _create(client, name, mark_of(manifest))


def _create(client: Any, name: str, description: str) -> None:
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


def _point_alias(client: Any, collection: str) -> None:
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

"""A version searched in Milvus, in its collection: the same answers, always exact."""

import functools
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from hashing.codes import CODE_BITS, as_outputs, fine_similarity
from searcher.columns import FINE_CODES, fine_codes_fit, open_fine_codes, read_shops
from searcher.milvus import (
    Asking,
    Place,
    Unavailable,
    check_complete,
    codes_of,
    collection_of,
    connect,
    path_of,
    text_of,
)
from searcher.opened import EVERYTHING, Selection, first_of_products, search_each
from searcher.order import Found, Query, Ranked, check_query, in_order, needed
from searcher.version import Manifest, VersionError, read_manifest

MOST_HITS = 10_000
"""Rows that are asked for at once, at most: Milvus returns 16,384, milvus-lite one less."""
SPARE_HITS = 64
"""Asked for beyond those wanted: most often they hold all that are as near as the last one."""
QUERY_SECONDS = 3
"""Of one call while a query is answered, which takes a few of them; TorchServe gives up at 20."""

Hits = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows int64 [f], their distances in bits int32 [f] and their codes uint8 [f, 8]."""


class MilvusVersion:
    """An `OpenVersion` that raises Unavailable besides, from every method.  Of the version's folder
    it needs the manifest only, and the longer codes where they are to order answers."""

    def __init__(self, folder: Path, where: Place):
        """Raises VersionError when the collection is not there, is of another build or incomplete;
        Unavailable."""
        self.manifest = read_manifest(folder)
        self._folder = folder
        self._asking = Asking(where)
        self._name = collection_of(self.manifest.version)
        self._fine_codes = _fine_codes_of(folder, self.manifest)
        with self._asking:
            self._client = connect(where)
            check_complete(self._client, self.manifest)

    @property
    def has_fine_codes(self) -> bool:
        return self._fine_codes is not None

    def search(
        self, codes: np.ndarray, k: int, outputs: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return search_each(self._ranked, codes, k, outputs)

    def select(
        self,
        code: np.ndarray,
        count: int,
        outputs: np.ndarray | None = None,
        selection: Selection = EVERYTHING,
        weight: float | None = None,
    ) -> Ranked:
        check_query(code[None], count, None if outputs is None else outputs[None])
        ranked = functools.partial(
            self._ranked,
            Query(code, outputs, weight),
            farthest=selection.max_distance,
            among=_among(selection),
        )
        if not selection.by_product:
            return ranked(count)
        return first_of_products(ranked, self._product_of, count, self.manifest.rows)

    def similarities(self, rows: np.ndarray, outputs: np.ndarray, weight: float) -> np.ndarray:
        assert self._fine_codes is not None
        codes = codes_of(self._column("bits", rows))
        return fine_similarity(outputs, codes, self._fine_codes.take(rows, axis=0), weight)

    def path(self, row: int) -> str:
        return self.paths(np.array([row]))[0]

    def paths(self, rows: np.ndarray) -> list[str]:
        return [path_of(text) for text in self._column("path", rows)]

    def row(self, path: str) -> int | None:
        found = self._ask("query", filter=f'path == "{text_of(path)}"', output_fields=["row"])
        return min((each["row"] for each in found), default=None)

    def code(self, row: int) -> np.ndarray:
        code: np.ndarray = codes_of(self._column("bits", np.array([row])))[0]
        return code

    def outputs(self, row: int) -> np.ndarray | None:
        if self._fine_codes is None:
            return None
        return as_outputs(np.concatenate([self.code(row), self._fine_codes[row]]))

    @functools.cached_property
    def shops(self) -> dict[str, int]:
        """Counted when they are first asked for, in two questions a shop at most."""
        rows_in: dict[str, int] = {}
        while True:
            others = f"shop not in {json.dumps(sorted(rows_in))}" if rows_in else ""
            found = self._ask("query", filter=others, limit=MOST_HITS, output_fields=["shop"])
            if not found:
                return {path_of(text): rows for text, rows in rows_in.items()}
            for text in {each["shop"] for each in found}:
                (counted,) = self._ask(
                    "query", filter=f"shop == {json.dumps(text)}", output_fields=["count(*)"]
                )
                rows_in[text] = int(counted["count(*)"])

    @functools.cached_property
    def shop_names(self) -> Collection[str]:
        """From the version's own file, where that is at hand."""
        return read_shops(self._folder) or self.shops

    @property
    def ways(self) -> dict[str, int]:
        return {}

    def _ranked(
        self,
        query: Query,
        count: int,
        farthest: int = CODE_BITS,
        among: str | None = "",
    ) -> Ranked:
        if among is None:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        wanted = needed(query, count, self.has_fine_codes)
        rows, distances, codes = self._nearest_rows(query.code, wanted, farthest, among)
        fine_codes = None
        if query.has_fine_outputs and self._fine_codes is not None:
            fine_codes = self._fine_codes.take(rows, axis=0)
        return in_order(Found(rows, distances, codes, fine_codes), query, count)

    def _product_of(self, rows: np.ndarray) -> np.ndarray:
        return np.array(self._column("product", rows), np.int64)

    def _nearest_rows(self, code: np.ndarray, wanted: int, farthest: int, among: str) -> Hits:
        """The wanted nearest rows up to distance `farthest`, or all if they are fewer, and those as
        near as the last of them; in no order."""
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

    def _within(self, code: np.ndarray, radius: int, among: str, first: int, end: int) -> Hits:
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
        rows, distances, codes = (np.concatenate(pair) for pair in zip(*halves, strict=True))
        return rows, distances, codes

    def _hits(self, code: np.ndarray, limit: int, radius: int, condition: str) -> Hits:
        """The nearest rows up to a distance, at most `limit`, nearest first."""
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
        return rows, distances, codes_of([hit["entity"]["bits"] for hit in hits])

    def _column(self, field: str, rows: np.ndarray) -> list[Any]:
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

    def _ask(self, method: str, **arguments: Any) -> list[Any]:
        with self._asking:
            ask = getattr(self._client, method)
            found: list[Any] = ask(self._name, timeout=QUERY_SECONDS, **arguments)
            return found


def _fine_codes_of(folder: Path, manifest: Manifest) -> np.ndarray | None:
    """Raises VersionError."""
    try:
        fine_codes = open_fine_codes(folder)
    except (OSError, ValueError) as error:  # numpy's, of a damaged file
        problem = f"cannot be opened ({error})"
    else:
        if fine_codes is None or fine_codes_fit(fine_codes, manifest.rows):
            return fine_codes
        problem = f"holds {fine_codes.dtype} {list(fine_codes.shape)}"
    raise VersionError(
        f"{folder / FINE_CODES} {problem}; copy it again, or remove it to order by distance alone"
    )


def _among(selection: Selection) -> str | None:
    """The rows of the selected shops, as an expression; None when no row is selected."""
    excluded = sorted(map(text_of, selection.exclude_shops))
    if selection.shops is None:
        return f"shop not in {json.dumps(excluded)}" if excluded else ""
    shops = sorted(set(map(text_of, selection.shops)) - set(excluded))
    return f"shop in {json.dumps(shops)}" if shops else None

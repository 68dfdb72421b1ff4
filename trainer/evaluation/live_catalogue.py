"""How well a live catalogue retrieves, measured through the service that searches in it.

Queries are labelled pictures of the catalogue itself; what an answer has of the query's own picture
and of its copies is passed over, and so are pictures without labels: the figures are those of a
catalogue of the labelled pictures.
"""

import collections
import dataclasses
import hashlib
import posixpath
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import efiss_client as client
from machine import progress
from trainer.data import DataError, Source
from trainer.evaluation.figures import Asked, Latency, LiveEvaluation, NotAnswered, Service
from trainer.evaluation.measures import AT_K, Figures, measures_at_k, summary
from trainer.evaluation.tasks import with_first_two_together, with_labels
from trainer.evaluation.views import CODES
from trainer.layouts import read

AT_A_TIME = 4
MOST_TOP_K = 1000


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Labelled pictures of a live catalogue."""

    name: str
    paths: list[str]
    """As the data spells them."""
    labels: dict[str, np.ndarray]
    """Label -> str [n], "" where not known."""
    groups: np.ndarray
    """str [n], shared by copies."""
    folder: Path
    """Of the data; a file is looked for there, then in the current folder."""

    def encoded(self, row: int) -> bytes:
        """The picture's bytes.  Raises OSError."""
        there = self.folder / self.paths[row]
        return (there if there.exists() else Path(self.paths[row])).read_bytes()

    def rows(self) -> dict[str, int]:
        """The row of every path an answer may have: as the data spells it, or below the data's
        folder, as that is spelled or from the root."""
        rows: dict[str, int] = {}
        for folder in (Path(), self.folder, self.folder.absolute()):
            for row, path in enumerate(self.paths):
                rows.setdefault(posixpath.normpath(folder / path), row)
        return rows


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the service said to one query."""

    row: int
    version: str
    paths: list[str]
    """Best first."""
    distances: list[int | None]
    """Of the same, in bits."""
    seconds: float = 0.0
    """What the first request took."""


def read_catalogue(data: Path, source: Source, labels: Sequence[str] = ()) -> Catalogue:
    """The labelled pictures of a CSV file or a folder of class folders, with the labels that are
    named; with all where none is.  Raises DataError."""
    if data.suffix == ".parquet":
        raise DataError(
            f"{data}: a catalogue is compared by paths, which parquet files do not hold; give a "
            "CSV file with a column path, or a folder of class folders"
        )
    (pictures,) = with_labels([read(data, source)], labels)
    # The column that pictures are read by, as the one that groups them: their paths.
    paths = read(data, dataclasses.replace(source, group=source.picture)).groups.tolist()
    folder = data if data.is_dir() else data.parent
    return Catalogue(source.name, paths, pictures.labels, pictures.groups, folder)


def measure_service(
    url: str,
    catalogue: Catalogue,
    k: int = 10,
    queries: int = 1000,
    tell: progress.Tell = progress.nobody,
) -> LiveEvaluation:
    """Figures of the catalogue behind the service at `url`.

    queries: how many pictures are asked for at most; always the same of the same data.
    Raises DataError, client.ServiceError.
    """
    row_of = catalogue.rows()
    _, group_of = np.unique(catalogue.groups, return_inverse=True)
    sample = _sample(catalogue.paths, queries)
    with client.Client(url) as service:
        answers, reasons = _asked(service, catalogue, sample, k, row_of, group_of, tell)
    if not answers:
        raise DataError(f"none of {len(sample)} queries was answered; the first: {reasons[0]}")
    usable = [_usable(answer, row_of, group_of) for answer in answers]
    labelled = sum(path in row_of for answer in answers for path in answer.paths)
    if not labelled:
        raise DataError(
            f"no path of an answer is one of {catalogue.name}: the catalogue has "
            f"{answers[0].paths[0]!r}, the data {catalogue.paths[0]!r}; spell them alike"
        )
    figures = {
        f"{catalogue.name}: {label}": _figures(values, answers, usable, group_of, k)
        for label, values in with_first_two_together(catalogue.labels).items()
    }
    retrieval = {name: {CODES: own} if own else {} for name, own in figures.items()}
    measured = [name for name, views in retrieval.items() if views]
    if not measured:
        raise DataError(
            f"{catalogue.name}: {LiveEvaluation.no_query}; there is nothing to measure by"
        )
    short_of_k = sum(len(rows) < min(k, len(catalogue.paths) - 1) for rows in usable)
    not_answered = NotAnswered(len(reasons), (reasons or [""])[0])
    return LiveEvaluation(
        service=_service(url, answers, row_of, short_of_k, not_answered),
        k=k,
        data={catalogue.name: Asked(len(catalogue.paths), len(sample))},
        first_row=measured[0],
        retrieval=retrieval,
    )


def _sample(paths: list[str], queries: int) -> list[int]:
    """Rows to ask for: those whose paths have the smallest sha256."""

    def digest(row: int) -> bytes:
        return hashlib.sha256(paths[row].encode("utf-8", "surrogateescape")).digest()

    return sorted(range(len(paths)), key=digest)[:queries]


def _asked(
    service: client.Client,
    catalogue: Catalogue,
    sample: list[int],
    k: int,
    row_of: dict[str, int],
    group_of: np.ndarray,
    tell: progress.Tell,
) -> tuple[list[Answer], list[str]]:
    """Answers to the queries of the sample, and the reasons why others have none."""
    copies = np.bincount(group_of)

    def ask(row: int) -> Answer | str:
        top_k = min(k + int(copies[group_of[row]]), MOST_TOP_K)
        try:
            image = catalogue.encoded(row)
            start = time.perf_counter()
            answer = _answer(row, service.search(image, top_k=top_k, rank="distance"))
            seconds = time.perf_counter() - start
            # Where pictures without a label took the places, all that can be had.
            if len(_usable(answer, row_of, group_of)) < k and len(answer.paths) == top_k:
                answer = _answer(row, service.search(image, top_k=MOST_TOP_K, rank="distance"))
            return dataclasses.replace(answer, seconds=seconds)
        except client.ServiceError as error:
            if error.status is None:  # nothing answers: the others would wait for it in vain
                raise
            return f"{catalogue.paths[row]}: {error}"
        except OSError as error:
            return f"{catalogue.paths[row]}: cannot be read: {error.strerror or error}"

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        said = list(progress.told(pool.map(ask, sample), "asking", len(sample), tell))
    answers = [one for one in said if isinstance(one, Answer)]
    return answers, [one for one in said if isinstance(one, str)]


def _answer(row: int, said: client.Answer) -> Answer:
    paths = [posixpath.normpath(found.path) for found in said.results]
    return Answer(row, said.version, paths, [found.distance for found in said.results])


def _usable(answer: Answer, row_of: dict[str, int], group_of: np.ndarray) -> list[int]:
    """Labelled rows of an answer that are not the query's picture or a copy of it, best first."""
    rows = dict.fromkeys(row_of[path] for path in answer.paths if path in row_of)
    return [row for row in rows if group_of[row] != group_of[answer.row]]


def _figures(
    values: np.ndarray,
    answers: list[Answer],
    usable: list[list[int]],
    group_of: np.ndarray,
    k: int,
) -> Figures | None:
    """Figures by one label, of the queries whose value another picture has as well; None where
    there is none."""
    names, counts = np.unique(values, return_counts=True)
    there = dict(zip(names.tolist(), counts.tolist(), strict=True))
    measured, labels = [], []
    for answer, rows in zip(answers, usable, strict=True):
        own = group_of == group_of[answer.row]
        value = str(values[answer.row])
        total = there[value] - int((values[own] == value).sum())
        if value and total:
            relevant = values[rows[:k]] == value
            measured.append(measures_at_k(relevant, k, total, len(values) - int(own.sum())))
            labels.append(value)
    if not measured:
        return None
    return summary(AT_K, np.array(measured), np.array(labels), there, len(values))


def _service(
    url: str,
    answers: list[Answer],
    row_of: dict[str, int],
    short_of_k: int,
    not_answered: NotAnswered,
) -> Service:
    found_itself = sum(
        any(
            row_of.get(path) == answer.row and distance == 0
            for path, distance in zip(answer.paths, answer.distances, strict=True)
        )
        for answer in answers
    )
    unknown = [path for answer in answers for path in answer.paths if path not in row_of]
    seconds = np.array([answer.seconds for answer in answers])
    median, p95 = (round(float(one), 2) for one in np.percentile(seconds * 1000, (50, 95)))
    return Service(
        url=url,
        index_versions=dict(collections.Counter(answer.version for answer in answers)),
        answered=len(answers),
        own_picture_at_distance_0=round(found_itself / len(answers), 6),
        results=sum(len(answer.paths) for answer in answers),
        results_without_label=len(unknown),
        pictures_without_label=len(set(unknown)),
        first_without_label=unknown[0] if unknown else "",
        short_of_k=short_of_k,
        not_answered=not_answered,
        latency_ms=Latency(median, p95),
        at_a_time=AT_A_TIME,
    )

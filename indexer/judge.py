"""A version judged before it goes live: by itself, and beside the version that is live now.

`judge` measures, compares with the thresholds and stores its report in the version.  A version that
was refused is not made live (`searcher.switch`) unless somebody forces it, and that is recorded.
"""

import contextlib
import dataclasses
import math
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from hashing.codes import CODE_BITS, CODE_BYTES, unpack
from hashing.model import Model
from indexer.changes import changes, counts_of_codes
from indexer.live_model import named
from indexer.sample import hashed_again, sample
from indexer.tried import milliseconds, tried
from machine.container import available_cores
from machine.errors import Problem
from machine.settings import SettingError
from searcher.faiss_version import FaissVersion, open_version
from searcher.hubs import hub_share
from searcher.index import Index
from searcher.opened import Selection
from searcher.report import Measure, Report, digest_of, shown, store, stored
from searcher.version import VersionError, model_of, now

QUERIES = 200
"""Pictures whose nearest are compared between two versions, and timed."""
NEAREST = 10
CHANGED = 30
"""Pictures that are changed, to see whether they find themselves."""

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What a version must keep to, the section [check] of efiss.toml."""

    most_shrunk: float = 20.0
    """Percent of the live version's rows that may be missing."""
    most_rejected: float = 5.0
    """Percent of the catalogue's lines that may be left out, and of the sampled pictures that may
    be unreadable now."""
    least_self_retrieval: float = 99.9
    """Percent of the sampled pictures that must find their own row at distance 0."""
    sample: int = 1000
    """How many pictures are hashed again."""
    most_gone: float = 20.0
    """Percent of the live version's rows whose content may be found nowhere in the new one: the
    pictures that were removed, and those that others replaced."""
    most_left_out: float = 20.0
    """Percent of the datalake's files, but for texts and what is excluded, that may be no pictures
    and so stand in no line of the catalogue."""


def read_thresholds(path: Path) -> Thresholds:
    """Those in the file; the defaults where it is missing or leaves some out.

    Raises SettingError.
    """
    try:
        section = tomllib.loads(path.read_text(encoding="utf-8")).get("check", {})
    except FileNotFoundError:
        return Thresholds()
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error
    if not isinstance(section, dict):
        raise SettingError(f"{path}: check must be a section, [check]")
    known: dict = {field.name: field.type for field in dataclasses.fields(Thresholds)}
    for name, value in section.items():
        if name not in known:
            raise SettingError(f"{path}: [check] has no {name}; it may have {', '.join(known)}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name == "sample" and not (is_number and 1 <= value < math.inf and value == int(value)):
            raise SettingError(f"{path}: sample must be a whole number from 1, not {value!r}")
        if name != "sample" and not (is_number and 0 <= value <= 100):
            raise SettingError(f"{path}: {name} is in percent, 0 to 100, not {value!r}")
    if "most_shrunk" in section:  # what is removed is gone: it is not to be allowed twice
        section = {"most_gone": max(section["most_shrunk"], Thresholds.most_gone)} | section
    return Thresholds(**{name: known[name](value) for name, value in section.items()})


def judge(
    index: Index,
    version: str,
    thresholds: Thresholds,
    device: str = "cpu",
    progress: Progress = lambda done, total: None,
) -> Report:
    """Measure a version, compare it with the live one, and store the report in it.

    The live version itself is compared with the one that was live before.  device: where pictures
    are hashed again; that of the indexing, since another one may flip bits.  progress: called as
    progress(done, total) with the pictures hashed again.
    Raises Locked, VersionError when the version is damaged, ModelError, SettingError, OSError.
    """
    with index.holding(version):
        return _judge(index, version, thresholds, device, progress)


def _judge(
    index: Index, version: str, thresholds: Thresholds, device: str, progress: Progress
) -> Report:
    folder = index.verified(version)
    candidate, other = open_version(folder), _other(index, version)
    spread = _spread(candidate, index.root)
    measures = [
        *_rows(candidate, other, thresholds, index.root),
        *_self_retrieval(folder, candidate, spread.largest, thresholds, device, progress),
        *_codes(spread, _spread(other, index.root) if other else None),
        *_queries(candidate, other),
        *_models(index, candidate, other, device),
    ]
    report = Report(
        version=version,
        against=other.manifest.version if other else None,
        created=now(),
        measures=measures,
        refusals=[_sentence(measure) for measure in measures if measure.refused],
        rolled_back=_rolled_back(folder),
        model_change=_model_change(candidate, other),
        manifest=digest_of(folder),
    )
    store(index, report)
    return report


def _other(index: Index, version: str) -> FaissVersion | None:
    """The version to compare with; one that is damaged is no measure."""
    live, before = index.live(), index.before()
    name = (before[-1] if before else None) if live == version else live
    if name is None:
        return None
    try:
        return open_version(index.root / name)
    except VersionError:
        return None


def _model_change(new: FaissVersion, old: FaissVersion | None) -> str | None:
    if old is None or new.manifest.model.get("sha256") == old.manifest.model.get("sha256"):
        return None
    before, now = (
        named(**one.manifest.model) if one.manifest.model else "none" for one in (old, new)
    )
    return f"the model changes from {before} to {now}"


def _rolled_back(folder: Path) -> str | None:
    """When somebody went back from the version: to judge it again does not undo that."""
    try:
        earlier = stored(folder)
    except VersionError:
        return None
    return earlier.rolled_back if earlier else None


def _sentence(measure: Measure) -> str:
    return f"{measure.name} {shown(measure.value, measure.unit)} ({measure.limit} is allowed)"


# -- what is measured ----------------------------------------------------------------------------


def _rejected(opened: FaissVersion) -> float:
    """Percent of the catalogue's lines."""
    return 100 * opened.manifest.rejected / (opened.manifest.rows + opened.manifest.rejected)


def _rows(
    new: FaissVersion, old: FaissVersion | None, thresholds: Thresholds, scratch: Path
) -> list[Measure]:
    """scratch: a folder for files without a name."""
    rows, rejected = new.manifest.rows, _rejected(new)
    measures = [
        Measure("rows", rows, old.manifest.rows if old else None),
        Measure(
            "lines rejected",
            rejected,
            _rejected(old) if old else None,
            "%",
            f"at most {thresholds.most_rejected:g} %",
            rejected > thresholds.most_rejected,
        ),
    ]
    if (left_out := new.manifest.catalogue.get("left_out")) is not None:
        share = 100 * left_out / (rows + new.manifest.rejected + left_out)
        measures.append(
            Measure(
                "files left out",
                share,
                unit="%",
                limit=f"at most {thresholds.most_left_out:g} %",
                refused=share > thresholds.most_left_out,
            )
        )
    if old is None:
        return measures
    changed = changes(new, old, scratch)
    gone = 100 * changed.gone / old.manifest.rows
    shrunk = max(0.0, 100 * (old.manifest.rows - rows) / old.manifest.rows)
    return [
        *measures,
        Measure("rows added", changed.added),
        Measure("rows removed", changed.removed),
        Measure("rows replaced", changed.replaced),
        Measure(
            "catalogue shrunk by",
            shrunk,
            unit="%",
            limit=f"at most {thresholds.most_shrunk:g} %",
            refused=shrunk > thresholds.most_shrunk,
        ),
        Measure(
            "contents gone",
            gone,
            unit="%",
            limit=f"at most {thresholds.most_gone:g} %",
            refused=gone > thresholds.most_gone,
        ),
    ]


def _self_retrieval(
    folder: Path,
    opened: FaissVersion,
    largest: int,
    thresholds: Thresholds,
    device: str,
    progress: Progress,
) -> list[Measure]:
    """Whether pictures of the catalogue, hashed again, find their own row among those at distance
    0.  largest: more rows than that do not have the same code."""
    wanted = min(largest + 1, opened.manifest.rows)
    rows, model_path = sample(opened, thresholds.sample), model_of(folder)
    count, unreadable, found = len(rows), 0, 0
    codes: Iterable[np.ndarray | None]
    if model_path is None:  # nothing to hash with: the codes at least find themselves
        codes = (opened.code(row) for row in rows)
    else:
        hashed = hashed_again(opened, rows, model_path, device)
        codes = (
            np.frombuffer(one.code, np.uint8, CODE_BYTES) if one.code else None for one in hashed
        )
    progress(0, count)
    for done, (row, code) in enumerate(zip(rows, codes, strict=True), 1):
        if code is None:
            unreadable += 1
        else:
            same, _ = opened.select(code, wanted, selection=Selection(max_distance=0))
            found += row in same
        progress(done, count)
    share = 100 * found / (count - unreadable) if count > unreadable else 0.0
    gone = 100 * unreadable / count
    return [
        Measure(
            "sampled pictures unreadable",
            gone,
            unit="%",
            limit=f"at most {thresholds.most_rejected:g} %",
            refused=gone > thresholds.most_rejected,
        ),
        Measure(
            "self-retrieval",
            share,
            unit="%",
            limit=f"at least {thresholds.least_self_retrieval:g} %",
            refused=share < thresholds.least_self_retrieval,
        ),
    ]


@dataclasses.dataclass(frozen=True)
class _Spread:
    """How the codes spread: many pictures of one code are ranked by nothing but chance."""

    distinct: float
    """Percent, codes that differ of all rows."""
    largest: int
    """Rows that share one code."""
    uneven: float
    """Percent of the rows that have a bit's commoner value, of the bit where that is most; 50 is
    even."""


def _spread(opened: FaissVersion, scratch: Path) -> _Spread:
    codes, distinct, largest = opened.codes, 0, 0
    for counts in counts_of_codes(opened, scratch):
        distinct += len(counts)
        largest = max(largest, int(counts.max(initial=0)))
    ones = np.zeros(CODE_BITS, np.int64)
    for start in range(0, len(codes), 1_000_000):
        ones += unpack(codes[start : start + 1_000_000]).sum(axis=0, dtype=np.int64)
    share = ones / len(codes)
    return _Spread(
        distinct=100 * distinct / len(codes),
        largest=largest,
        uneven=100 * float(np.maximum(share, 1 - share).max()),
    )


def _codes(new: _Spread, old: _Spread | None) -> list[Measure]:
    return [
        Measure("distinct codes", new.distinct, old.distinct if old else None, "%"),
        Measure("largest bucket", new.largest, old.largest if old else None),
        Measure("most uneven bit", new.uneven, old.uneven if old else None, "%"),
    ]


def _queries(new: FaissVersion, old: FaissVersion | None) -> list[Measure]:
    """What the same queries find in both, and how long that takes: the pictures whose paths hash
    lowest, so that they are the same ones night after night."""
    ours, theirs, kept = _Asked(), _Asked(), []
    for row in new.lowest_hashed(QUERIES):
        found = ours.nearest(new, row)
        if old and (other_row := old.row(new.path(row))) is not None:
            there = theirs.nearest(old, other_row)
            if there:
                kept.append(len(found & there) / len(there))
    measures = [
        Measure(name, of(ours), of(theirs) if theirs.seconds else None, unit)
        for name, unit, of in (
            ("nearest is one of five hubs", "%", _Asked.hubs),
            ("query, median", "ms", lambda asked: 1000 * np.median(asked.seconds)),
            ("query, 99th percentile", "ms", lambda asked: 1000 * np.percentile(asked.seconds, 99)),
        )
    ]
    if kept:
        changed = Measure("top-10 changed by", 100 * (1 - float(np.mean(kept))), unit="%")
        measures.insert(1, changed)
    return measures


@dataclasses.dataclass
class _Asked:
    """Queries that one version answered."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    firsts: list[int] = dataclasses.field(default_factory=list)
    """The row nearest to each, of those that have one."""

    def nearest(self, opened: FaissVersion, row: int) -> set[str]:
        """The paths of the nearest pictures to one of the version, but for itself."""
        code = opened.code(row)
        start = time.perf_counter()
        rows, _ = opened.select(code, min(NEAREST + 1, opened.manifest.rows))
        self.seconds.append(time.perf_counter() - start)
        others = rows[rows != row][:NEAREST]
        self.firsts += others[:1].tolist()
        return set(opened.paths(others))

    def hubs(self) -> float:
        """Percent of the queries."""
        return 100 * hub_share(np.array(self.firsts)) if self.firsts else 0.0


def _models(
    index: Index, new: FaissVersion, old: FaissVersion | None, device: str
) -> list[Measure]:
    """How the model finds changed pictures, the same ones night after night, and what it takes; of
    the other version where that has another one."""
    rows = new.lowest_hashed(CHANGED)
    ours = _tried(index, new, rows, device)
    theirs: dict[str, tuple[float, str]] = {}
    if old and _model_change(new, old):
        there = [old.row(new.path(row)) for row in rows]
        with contextlib.suppress(Problem):  # what cannot be used any more is no measure
            theirs = _tried(index, old, [row for row in there if row is not None], device)
    return [
        Measure(name, value, theirs[name][0] if name in theirs else None, unit)
        for name, (value, unit) in ours.items()
    ]


def _tried(
    index: Index, opened: FaissVersion, rows: list[int], device: str
) -> dict[str, tuple[float, str]]:
    """Figures and their units by name; none of a version without a model."""
    path = model_of(index.folder(opened.manifest.version))
    if path is None:
        return {}
    model = Model.load(path, device, available_cores())
    found = {name: (value, "%") for name, value in tried(opened, model, rows).items()}
    return {**found, "model, a picture": (milliseconds(model), "ms")}

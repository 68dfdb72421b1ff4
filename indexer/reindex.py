"""The whole way from a catalogue to a live version, once: what an operator has done every night.

extract -> index -> (publish) -> check -> activate -> prune.  Every step is safe to kill: codes that
were computed are kept, a version is there whole or not at all, and until the last worker answers
from the new version the old one is live.  The next run goes on from there.
"""

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from indexer import judge, live_model
from indexer.judge import Thresholds
from indexer.outcome import DONE, NOTHING_NEW, REFUSED, Event, Outcome, Tell
from indexer.pipeline import IndexingError, Order, Progress, Summary, index_catalogue
from searcher import milvus, milvus_publish, report, switch
from searcher.index import Index
from searcher.report import Report
from searcher.shops import rule_of
from searcher.version import Manifest, VersionError, read_manifest

_SCRIPT = Path(__file__).with_name("extract_datalake.sh")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to do."""

    datalake: Path | None
    """The folder of shops to list first, or None to take the list as it is."""
    order: Order
    """What to index, the list among it."""
    thresholds: Thresholds
    exclude: tuple[str, ...] = ()
    """Patterns of files and folders below the datalake that are not listed."""
    keep_model: bool = False
    """Whether the live version's model, where a version is live, takes the place of the order's."""
    where: milvus.Place | None = None
    """Of Milvus, when it is searched there."""
    keep: int = 3
    """Versions that stay, at the least."""
    wait: float = switch.WAIT_SECONDS
    """Seconds that workers have to follow."""
    force: bool = False
    """Whether a version that is judged unfit goes live all the same."""


def reindex(plan: Plan, tell: Tell = lambda event: None) -> Outcome:
    """Bring the catalogue as it is now live, in one go.

    Raises VersionError, CatalogueError, ModelError, NoModelError, IndexingError, SettingError,
    milvus.Unavailable or OSError; the live version is then as it was.
    """
    index, database = plan.order.index, plan.order.database
    with index.reindexing(), _as_it_was(database) as put_back:
        if plan.datalake is not None:
            tell(Event("extract", message=f"listing {plan.datalake}"))
            listed = extract(plan.datalake, database, plan.exclude)
            tell(Event("extract", message=listed))
        summary = _index(plan, tell)
        version = summary.manifest.version
        with index.holding(version) as folder:
            if read_manifest(folder) != summary.manifest:
                raise VersionError(f"version {version} was replaced by another process; try again")
            outcome = _bring_live(plan, folder, summary.is_new, tell)
        if outcome.state == REFUSED:
            put_back()
        return outcome


@contextlib.contextmanager
def _as_it_was(database: Path) -> Iterator[Callable[[], None]]:
    """Gives what puts back the list, and the file beside it that names the datalake, as they are at
    the start of the block; nothing where there is no list, or the file system has no second
    names."""
    files = {
        file: file.with_name(f".{file.name}.former")
        for file in (database, database.with_name(f"{database.name}.datalake"))
    }
    for file, former in files.items():
        former.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.link(file, former)  # a new file takes its place, and is not written into it

    def put_back() -> None:
        if files[database].exists():
            for file, former in files.items():
                if former.exists():
                    os.replace(former, file)
                else:
                    file.unlink(missing_ok=True)

    try:
        yield put_back
    finally:
        for former in files.values():
            former.unlink(missing_ok=True)


def _bring_live(plan: Plan, folder: Path, is_new: bool, tell: Tell) -> Outcome:
    """What becomes of the version in `folder`, which nobody can replace meanwhile."""
    index, version = plan.order.index, folder.name
    live = index.live()
    if live == version:
        if refused := switch.refusals(index):
            raise VersionError(
                f"version {live} is live and holds just this catalogue, but {refused}; mend "
                "that, or `efiss rollback` makes the version before live"
            )
        index.note_reindexed()
        message = f"version {live} is live and holds just this catalogue"
        return Outcome(NOTHING_NEW, version, live, message, report.stored(folder))
    if not is_new and not plan.force and _was_rolled_back(folder):
        message = (
            f"version {version} holds just this catalogue, and somebody rolled back from it: "
            f"`efiss activate {version}` or --force takes it all the same"
        )
        return Outcome(REFUSED, version, live, message, report.stored(folder))
    if plan.where:
        tell(Event("publish", message=f"publishing {version} in Milvus"))
        milvus_publish.publish(index, version, plan.where, False, _counting("publish", tell))
    judged = _check(plan, version, tell)
    if judged.verdict == report.REFUSED:
        message = f"version {version} stays off: {'; '.join(judged.refusals)}"
        _prune(plan, tell)  # or a catalogue that is refused every night fills the disk
        return Outcome(REFUSED, version, live, message, judged)
    tell(Event("activate", message=f"switching from {live or 'none'} to {version}"))
    done = switch.activate(index, version, plan.where, plan.wait)
    index.note_reindexed()
    several = f"{done.workers} workers answer"
    followed = {0: "no service follows now", 1: "1 worker answers"}.get(done.workers, several)
    tell(Event("activate", message=f"version {version} is live, {followed}"))
    _prune(plan, tell)
    return Outcome(DONE, version, done.before, f"version {version} is live", judged)


def extract(datalake: Path, database: Path, exclude: Iterable[str] = ()) -> str:
    """List the pictures of a folder of shops into the file `database`; returns how many in words.

    exclude: patterns of files and folders to pass over.
    Raises IndexingError.
    """
    patterns = [f"--exclude={pattern}" for pattern in exclude]
    command: list[str | Path] = ["bash", _SCRIPT, "-o", database, *patterns, "--", datalake]
    done = subprocess.run(command, text=True, errors="replace", capture_output=True)
    if done.returncode != 0:
        raise IndexingError(done.stderr.strip().replace("\n", "; "))
    return "; ".join([*done.stdout.splitlines(), *done.stderr.splitlines()])


def _index(plan: Plan, tell: Tell) -> Summary:
    tell(Event("index", message=f"indexing {plan.order.database}"))
    order = _with_kept_model(plan, tell) if plan.keep_model else plan.order
    summary = index_catalogue(order, _counting("index", tell))
    known = summary.unchanged + summary.by_content + summary.duplicates
    built = "built" if summary.is_new else "there already, it holds just this catalogue"
    tell(
        Event(
            "index",
            message=f"version {summary.manifest.version} {built}: {summary.manifest.rows:,} rows, "
            f"{summary.computed:,} hashed now, {known:,} known, {len(summary.rejected):,} rejected",
        )
    )
    if reason := _other_shops(plan.order.index, summary.manifest):
        tell(Event("index", message=reason))
    return summary


def _other_shops(index: Index, manifest: Manifest) -> str | None:
    """A sentence where the live version tells shops by another rule."""
    live, now = index.live(), rule_of(manifest.catalogue)
    try:
        before = rule_of(read_manifest(index.root / live).catalogue) if live else now
    except VersionError:  # what it is, is not known
        return None
    if now == before:
        return None
    return (
        f"a shop is now {now}, and {before} in the live version {live}: so this is another "
        "version, whatever its pictures are"
    )


def _with_kept_model(plan: Plan, tell: Tell) -> Order:
    order = plan.order
    if hint := live_model.hint(order.index, order.model_path):
        tell(Event("index", message=hint))
    return dataclasses.replace(order, model_path=live_model.kept(order.index, order.model_path))


def _was_rolled_back(folder: Path) -> bool:
    judged = report.stored(folder)
    return judged is not None and judged.rolled_back is not None


def _check(plan: Plan, version: str, tell: Tell) -> Report:
    index = plan.order.index
    tell(Event("check", message=f"checking {version}"))
    judged = judge.judge(
        index, version, plan.thresholds, plan.order.device, _counting("check", tell)
    )
    if plan.force:
        judged = report.force(index, version) or judged
    tell(Event("check", message=f"version {version}: {judged.verdict}"))
    return judged


def _prune(plan: Plan, tell: Tell) -> None:
    """What cannot be removed now is no failure."""
    tell(Event("prune"))
    try:
        removed = switch.prune(plan.order.index, plan.keep)
    except (VersionError, OSError) as error:
        tell(Event("prune", message=f"old versions stay: {error}"))
        return
    tell(Event("prune", message=f"removed {', '.join(removed) or 'nothing'}"))


def _counting(step: str, tell: Tell) -> Progress:
    return lambda done, total: tell(Event(step, done, total))

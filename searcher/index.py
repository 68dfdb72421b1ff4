"""The index folder: which versions there are, which one is live, and who may change that.

index/
    1.0.0/                  a version (`searcher.version`)
    CURRENT                 the name of the live version
    .before                 the versions that were live before it, the last one last
    .reindexed              empty; its time is that of the last reindex that succeeded
    .workers/               what each worker says of itself (`searcher.acknowledgements`)
    .new-1.1.0/             a version being written; renamed when it is complete
    .old-1.1.0/             a version being replaced by one of the same number
    .gone-1.1.0/            a version being removed
    .CURRENT.new .before.new    what a switch is about to rename to its place
    .CURRENT.back .before.back  what a switch that fails renames back
    .lock .switching .reindexing .opening   locks, which end with the process that holds them
"""

import contextlib
import dataclasses
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from machine.files import place_whole, sync_folder, write_synced
from searcher.version import MANIFEST, VersionError, is_number, parse, verify

STAGED, OLD, GONE = ".new-", ".old-", ".gone-"
_CURRENT, _BEFORE, _REINDEXED = "CURRENT", ".before", ".reindexed"
MOST_BEFORE = 100
"""Versions on the way back that are kept in mind."""


class Locked(VersionError):
    """Another process holds the lock; the message says what it does."""


@dataclasses.dataclass(frozen=True)
class Index:
    """The index in a folder, which need not be there yet.  Nothing is kept in memory: every call
    looks at the folder, which other processes change."""

    root: Path

    # -- versions --------------------------------------------------------------------------------

    def versions(self) -> list[str]:
        """The published versions, the lowest number first; none if the folder is missing."""
        if not self.root.is_dir():
            return []
        names = [entry.name for entry in self.root.iterdir() if is_number(entry.name)]
        return sorted(
            (name for name in names if (self.root / name / MANIFEST).is_file()), key=parse
        )

    def next_minor(self) -> str:
        """The number for the next version: of the newest one the next minor, 1.0.0 when there is
        none.  Raises VersionError when there is no next."""
        if not (names := self.versions()):
            return "1.0.0"
        major, minor, _ = parse(names[-1])
        name = f"{major}.{minor + 1}.0"
        parse(name)
        return name

    def folder(self, version: str) -> Path:
        """The folder of a published version.  Raises VersionError that names those that exist."""
        parse(version)
        if version in self.versions():
            return self.root / version
        others = ", ".join(self.versions()) or "none"
        raise VersionError(
            f"there is no version {version} in {self.root}; those that exist: {others}"
        )

    def verified(self, version: str) -> Path:
        """The folder of a published version, after a full check.  Raises VersionError when it is
        damaged or not there."""
        folder = self.folder(version)
        if problems := verify(folder):
            raise VersionError(f"version {version} is damaged: " + "; ".join(problems))
        return folder

    def check_new(self, version: str, replace: bool = False) -> None:
        """Raise VersionError unless a version of this name can be published."""
        parse(version)
        if (self.root / version).exists() and not replace and version != self.live():
            raise VersionError(
                f"version {version} exists in {self.root}; choose a new number, or have it "
                "replaced by `efiss index --force`"
            )
        with self.giving_up(version, "replaced; choose a new number"):
            return

    def remove(self, version: str) -> None:
        """Remove a version that is not live; to be called inside `writing()`.  A kill at any moment
        leaves it whole or gone.  Raises Locked, VersionError, OSError."""
        folder = self.folder(version)
        with self.giving_up(version, "removed"):
            os.rename(folder, self.root / (GONE + version))
            sync_folder(self.root)
        self.clear_up()

    def clear_up(self) -> None:
        """Inside `writing()`: half-written versions go, a version half-replaced comes back."""
        for stale in (*self.root.glob(STAGED + "*"), *self.root.glob(GONE + "*")):
            shutil.rmtree(stale)
        for old in self.root.glob(OLD + "*"):
            place = self.root / old.name.removeprefix(OLD)
            shutil.rmtree(old) if place.exists() else os.rename(old, place)

    # -- the live version ------------------------------------------------------------------------

    def live(self) -> str | None:
        """The version that CURRENT names, or None when none was activated yet."""
        return activated[0] if (activated := self.activation()) else None

    def activation(self) -> tuple[str, int] | None:
        """The live version and when it was activated (ns), to notice when it is activated again."""
        try:
            with open(self.root / _CURRENT, encoding="utf-8", errors="replace") as file:
                version, when = file.read().strip(), os.fstat(file.fileno()).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (version, when) if version else None

    def before(self) -> list[str]:
        """The versions that were live before it and are still there, the last one last."""
        names, now_live, there = self._read_before(), self.live(), set(self.versions())
        # A process that was killed while it activated may have left the live version at the end.
        while names and names[-1] == now_live:
            names.pop()
        return [name for name in names if name in there]

    def activate(self, version: str, way_back: list[str] | None = None) -> str | None:
        """Verify a version completely, then make it the live one; returns the one live before.

        way_back: what `before` says from then on; by default what it says now and the version that
        was live until now.  Raises VersionError, and leaves the live version as it is, when
        anything is wrong with it.  `searcher.switch` sees it through to the workers.
        """
        with self.holding(version) as folder:
            if problems := verify(folder):
                raise VersionError(
                    f"version {version} is damaged and stays off: " + "; ".join(problems)
                )
            was_live = self.live()
            if way_back is None:
                way_back = self.before()
                if was_live is not None and was_live != version:
                    way_back = [*way_back, was_live]
            self.make_live(version, way_back)
        return was_live

    def make_live(self, version: str | None, way_back: list[str]) -> None:
        """Write CURRENT and the way back, without a look at the version; None: no version is
        live.  Raises OSError."""
        with self._prepared(version, way_back, "new") as place:
            place()

    def ready_to_stay(self) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Inside, the function that it gives makes live again what is live now, with its way back:
        it only renames, which a full disk does not hinder.  Raises OSError."""
        return self._prepared(self.live(), self.before(), "back")

    @contextlib.contextmanager
    def _prepared(
        self, version: str | None, way_back: list[str], mark: str
    ) -> Iterator[Callable[[], None]]:
        """CURRENT and the way back, written beside their places; the function renames them."""
        way_back = way_back[-MOST_BEFORE:]
        texts = {_BEFORE: way_back, _CURRENT: [version] if version else []}
        staged = {name: self.root / f".{name.removeprefix('.')}.{mark}" for name in texts}

        def place() -> None:
            # Killed between the two, the way back may hold a version too many, but never lacks one.
            is_longer = len(way_back) >= len(self._read_before())
            for name in (_BEFORE, _CURRENT) if is_longer else (_CURRENT, _BEFORE):
                if texts[name]:
                    place_whole(staged[name], self.root / name)
                else:
                    (self.root / name).unlink(missing_ok=True)
                    sync_folder(self.root)

        try:
            for name, lines in texts.items():
                if lines:
                    write_synced(staged[name], "".join(f"{line}\n" for line in lines).encode())
            yield place
        finally:
            for file in staged.values():
                with contextlib.suppress(OSError):
                    file.unlink()

    def _read_before(self) -> list[str]:
        try:
            return (self.root / _BEFORE).read_text(encoding="utf-8", errors="replace").split()
        except (FileNotFoundError, NotADirectoryError):
            return []

    # -- the catalogue as it was last brought live -----------------------------------------------

    def note_reindexed(self) -> None:
        """Remember that the catalogue as it is now was found to be live.  What is live stays so
        where the disk is too full to note it."""
        with contextlib.suppress(OSError):
            (self.root / _REINDEXED).touch()

    def reindexed(self) -> float | None:
        """When that was last, Unix time; None before the first time."""
        try:
            return (self.root / _REINDEXED).stat().st_mtime
        except OSError:
            return None

    # -- locks: one process at a time, until the process ends, however it ends -------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock under which versions are built and removed; what a killed process left
        half-written is removed.  Raises Locked, VersionError when the folder cannot be written."""
        held = f"another process is building a version in {self.root}; wait until it has ended"
        with self._locked(".lock", held):
            self.clear_up()
            yield

    def switching(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock under which the live version changes.  Raises Locked, VersionError when the
        folder cannot be written."""
        held = f"another process is changing the live version of {self.root}; wait for it"
        return self._locked(".switching", held)

    def reindexing(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock for the whole way from a catalogue to a live version.  Raises Locked,
        VersionError when the folder cannot be written."""
        held = f"another reindex of {self.root} runs; wait until it has ended"
        return self._locked(".reindexing", held)

    def is_reindexing(self) -> bool:
        """Whether a process holds that lock.  Raises VersionError when the folder cannot be
        written."""
        try:
            with self.reindexing():
                return False
        except Locked:
            return True

    @contextlib.contextmanager
    def holding(self, version: str) -> Iterator[Path]:
        """Keep a version from being replaced and removed, while it is judged or activated; gives
        its folder.  Several may hold it at once.  Raises Locked, VersionError."""
        path = self.folder(version) / MANIFEST
        changing = f"version {version} is being replaced or removed; wait until that has ended"
        with contextlib.ExitStack() as held:
            try:
                manifest = held.enter_context(open(path, "rb"))
                _lock(manifest, fcntl.LOCK_SH, changing)
                is_that = os.path.samestat(os.fstat(manifest.fileno()), os.stat(path))
            except FileNotFoundError:
                is_that = False
            if not is_that:  # it went before the lock was held
                raise Locked(changing)
            yield path.parent

    def is_held(self, version: str) -> bool:
        """Whether a process keeps it from being replaced and removed."""
        try:
            with self._changing(version):
                return False
        except Locked:
            return True

    @contextlib.contextmanager
    def giving_up(self, version: str, as_what: str) -> Iterator[None]:
        """Have a version for oneself, to replace or remove it; nobody can judge or activate it
        meanwhile.  as_what: what does not become of it when it is live.  Raises Locked,
        VersionError."""
        self._check_not_live(version, as_what)
        with self._changing(version):
            self._check_not_live(version, as_what)  # it may be by now
            yield

    def _check_not_live(self, version: str, as_what: str) -> None:
        if version == self.live():
            raise VersionError(f"version {version} is live and is not {as_what}")

    @contextlib.contextmanager
    def _changing(self, version: str) -> Iterator[None]:
        # The lock is the manifest's: a version that is renamed takes it along.
        with contextlib.ExitStack() as held:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # no version at all
                manifest = held.enter_context(open(self.root / version / MANIFEST, "r+b"))
                in_use = f"version {version} is being checked or activated; wait until it has ended"
                _lock(manifest, fcntl.LOCK_EX, in_use)
            yield

    @contextlib.contextmanager
    def _locked(self, name: str, held: str) -> Iterator[None]:
        """held: what to say when another process holds the lock."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = open(self.root / name, "a+")  # noqa: SIM115 (closed by the `with` below)
        except OSError as error:
            raise VersionError(f"{self.root} cannot be written: {error.strerror}") from error
        with lock:
            _lock(lock, fcntl.LOCK_EX, held)
            yield


def _lock(file: IO, kind: int, held: str) -> None:
    """held: what to say when another process holds the lock."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked(held) from None

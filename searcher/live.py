"""Following the live version: what answers now, and the change to the next without a pause.

A `Follower` opens a version and its model, watches `CURRENT`, opens what it names in the background
and swaps one reference.  What cannot be opened is refused loudly and the old one goes on answering.
Versions that single requests ask for are opened beside it, a few at a time.
"""

import collections
import contextlib
import dataclasses
import fcntl
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

from hashing.model import Model, Sidecar, read_sidecar
from machine.errors import Problem, sentence_of
from machine.processes import give_memory_back
from searcher.acknowledgements import TOUCH_SECONDS, Acknowledgement
from searcher.faiss_version import open_version
from searcher.index import Index
from searcher.milvus import Place
from searcher.milvus_version import MilvusVersion
from searcher.opened import MOST_OPEN, OpenVersion
from searcher.version import VersionError, build_of, model_of, parse

POLL_SECONDS = 0.5
OPENING_SECONDS = 1.0
"""How long a request waits for the version that it pins to be opened, and with it a worker."""

TURN_SECONDS = 10.0
"""How long a worker waits for others to open a version, before it opens it beside them."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Serving:
    """An opened version and the model that made its codes; the two never change apart."""

    opened: OpenVersion
    model: Model | None
    """None of a version that was imported without one."""

    @property
    def version(self) -> str:
        return self.opened.manifest.version


class UnknownVersion(VersionError):
    """No version of this number is there to answer from; the message names those that are."""


class StillOpening(Problem):
    """The pinned version is being opened; the message says to ask again."""


class Follower:
    """Serves the live version of `index`; without one, the version in the folder `packed`.

    index: None to serve `packed` for good.  device: where models run.  where: of Milvus, when
    versions are searched there.  Raises VersionError, ModelError or milvus.Unavailable when there
    is nothing to serve.
    """

    def __init__(
        self, index: Index | None, packed: Path | None, device: str, where: Place | None = None
    ):
        self._index, self._packed, self._device, self._where = index, packed, device, where
        self._models: weakref.WeakValueDictionary[Sidecar, Model] = weakref.WeakValueDictionary()
        self._asked = index.activation() if index else None
        self._pinned = _Pinned(self._open)
        self._acknowledgement = Acknowledgement(index) if index else None
        self._has_changed = False
        self.serving, self._refused = self._first()
        self._acknowledge()

    def watch(self, told: Callable[[Serving], None] = lambda serving: None) -> None:
        """Follow CURRENT from now on, in daemon threads.  `told` is called with what answers, at
        once and whenever it is another."""
        told(self.serving)
        if self._acknowledgement is None:
            return
        for name, run, given in (
            ("index-follower", self._watch, told),
            ("index-word", _show_life, self._acknowledgement),
        ):
            threading.Thread(target=run, args=[given], name=name, daemon=True).start()

    def check(self) -> None:
        """Look at CURRENT once and open what it names, if it was activated since the last look."""
        if self._index is None:
            return
        asked = self._index.activation()
        if asked is not None and asked != self._asked:
            self._asked = asked
            self._change(self._index, asked[0])
        elif self._has_changed:  # and the requests that the version before answered are over
            give_memory_back()
            self._has_changed = False
        self._acknowledge()

    def _change(self, index: Index, version: str) -> None:
        self._has_changed = True
        try:
            with _in_turn(index):
                self.serving = self._open(index.folder(version))
        except Exception as error:  # whatever it is, the old version goes on
            self._refused = _reason(error)
            log.error(
                "index version %s refused, %s goes on answering: %s",
                version,
                self.serving.version,
                self._refused,
                exc_info=sentence_of(error) is None,
            )
        else:
            self._refused = None
            log.info("index version %s live, %d rows", version, self.serving.opened.manifest.rows)

    def pinned(self, version: str) -> Serving:
        """A version that a request asked for by number, opened if it is not the live one.

        It waits OPENING_SECONDS for that at most, and the opening goes on without it.  Raises
        UnknownVersion, StillOpening; VersionError, ModelError or OSError when it is damaged.
        """
        if version == self.serving.version:
            return self.serving
        existing = self._index.versions() if self._index else []
        if self._index and version in existing:
            return self._pinned.get(self._index.root / version)
        # The packed version answers while none is live, and is in no folder of versions.
        others = ", ".join(sorted({*existing, self.serving.version}, key=parse))
        raise UnknownVersion(f"there is no version {version}; those that exist: {others}")

    def _watch(self, told: Callable[[Serving], None]) -> None:
        pause = threading.Event()
        while True:
            pause.wait(POLL_SECONDS)
            before = self.serving
            try:
                self.check()
                if self.serving is not before:
                    told(self.serving)
            except Exception:  # whatever it is, the watch must go on
                log.exception("looking for a new index version failed")

    def _first(self) -> tuple[Serving, str | None]:
        """What to start with, and why it is not what CURRENT names."""
        if self._index is None or self._asked is None:
            if self._packed is None:
                place = self._index.root if self._index else "the archive"
                raise VersionError(f"no version is live in {place}; run `efiss activate`")
            return self._open(self._packed), None
        try:
            return self._open(self._index.folder(self._asked[0])), None
        except Exception as error:  # whatever it is, an older answer is better than none
            if self._packed is None:
                raise
            log.error(
                "live index version refused, the packed one answers: %s",
                _reason(error),
                exc_info=sentence_of(error) is None,
            )
            return self._open(self._packed), _reason(error)

    def _open(self, folder: Path) -> Serving:
        opened: OpenVersion = (
            MilvusVersion(folder, self._where) if self._where else open_version(folder)
        )
        path = model_of(folder)
        if path is None:
            return Serving(opened, None)
        sidecar = read_sidecar(path)
        if sidecar.sha256 != opened.manifest.model["sha256"]:
            raise VersionError(f"{path} is not the model that made the codes of this version")
        model = self._models.get(sidecar)  # as long as another version has it
        if model is None:
            model = self._models[sidecar] = Model.load(path, self._device)
        return Serving(opened, model)

    def _acknowledge(self) -> None:
        if self._acknowledgement is None:
            return
        asked, when = self._asked or (None, None)
        self._acknowledgement.say(
            version=self.serving.version,
            asked=asked,
            activated=when,
            refused=self._refused,
            pinned=sorted(one.version for one in self._pinned.opened()),
        )


def _reason(error: Exception) -> str:
    return sentence_of(error) or f"a {type(error).__name__}; the service's log says where"


def _show_life(acknowledgement: Acknowledgement) -> None:
    # Beside the watch, which may be busy opening a version for longer than it may be silent.
    pause = threading.Event()
    while True:
        pause.wait(TOUCH_SECONDS)
        acknowledgement.touch()


@contextlib.contextmanager
def _in_turn(index: Index) -> Iterator[None]:
    """Have one worker after the other open a version: opening a model stops a worker for a tenth of
    a second or two (torch holds the interpreter lock), and the others answer meanwhile."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # a folder that is read-only: all at once
            lock = held.enter_context(open(index.root / ".opening", "a"))
            deadline = time.monotonic() + TURN_SECONDS
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.01)
        yield


class _Pinned:
    """The pinned versions that were asked for last, at most MOST_OPEN, opened one after the other
    by a thread of its own."""

    def __init__(self, opening: Callable[[Path], Serving]):
        self._open = opening
        self._thread = futures.ThreadPoolExecutor(1, "pinned-version")
        self._lock = threading.Lock()
        # (folder, its build) -> what opens it, and until when requests wait for it
        self._asked: collections.OrderedDict[
            tuple[Path, tuple[int, int]], tuple[futures.Future[Serving], float]
        ] = collections.OrderedDict()

    def get(self, folder: Path) -> Serving:
        """Raises StillOpening, and what opening raised."""
        key = folder, build_of(folder)
        with self._lock:
            if key not in self._asked:
                until = time.monotonic() + OPENING_SECONDS
                self._asked[key] = self._thread.submit(self._open, folder), until
            self._asked.move_to_end(key)
            opening, until = self._asked[key]
            if len(self._asked) > MOST_OPEN:
                self._asked.popitem(last=False)[1][0].cancel()
        futures.wait([opening], max(0, until - time.monotonic()))
        if not opening.done() or opening.cancelled():
            raise StillOpening(f"version {folder.name} is being opened; ask again in a moment")
        if opening.exception():
            with self._lock:
                self._asked.pop(key, None)  # tried again when it is asked for again
        return opening.result()

    def opened(self) -> list[Serving]:
        """Those that are open."""
        with self._lock:
            asked = [opening for opening, _ in self._asked.values()]
        return [each.result() for each in asked if _is_open(each)]


def _is_open(opening: futures.Future[Serving]) -> bool:
    return opening.done() and not opening.cancelled() and opening.exception() is None

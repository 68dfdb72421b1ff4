"""What the processes of a service take: time of processors and memory (Linux)."""

import contextlib
import dataclasses
import re
import threading
import time
from pathlib import Path

import psutil

WATCH_SECONDS = 0.25
JAVA_BESIDE_HEAP_MB = 400
"""Classes, compiled code, threads' stacks and what the garbage collector needs."""
_MB = 2**20


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a process takes at a moment."""

    pid: int
    role: str
    """`java`, `worker`, `decoder`, or the name of the program."""
    resident_mb: float
    peak_mb: float
    """The most that was resident at a time since the process began."""
    own_mb: float
    """Resident, without pages of files."""


class Watch:
    """The processes below others, watched from a thread of its own.  Use as a context manager."""

    def __init__(self, roots: list[int]):
        self._roots = [psutil.Process(pid) for pid in roots]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peaks: dict[int, Reading] = {}
        """Of every process that was seen, the reading with the highest peak."""
        self.lost: dict[int, tuple[float, str]] = {}
        """When a process that had to stay was gone (time.monotonic()), and its role."""
        self._staying: dict[int, str] = {}

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._over.set()
        self._thread.join()

    def have_to_stay(self) -> None:
        """From now on every process that is there now has to stay, but for decoders, which end by
        themselves, and where a picture costs too much."""
        self._staying = {one.pid: one.role for one in self.read() if one.role != "decoder"}

    def read(self) -> list[Reading]:
        """All processes as they are now."""
        return [one for process in self._processes() if (one := _reading(process))]

    def cpu_seconds(self) -> float:
        """Time of processors that all of them took, and their children that ended."""
        seconds = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                seconds += sum(process.cpu_times()[:4])
        return seconds

    def java_bound_mb(self) -> float | None:
        """Heap, as much again in direct buffers (Java's default, or what its command says), and
        JAVA_BESIDE_HEAP_MB; None where there is no Java with a bound heap."""
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline())
                if heap := re.search(r"-Xmx(\d+)m", command):
                    direct = re.search(r"MaxDirectMemorySize=(\d+)m", command) or heap
                    return int(heap[1]) + int(direct[1]) + JAVA_BESIDE_HEAP_MB
        return None

    def rest(self, seconds: float) -> None:
        """Return when they do next to nothing, or after so many seconds."""
        deadline, before = time.monotonic() + seconds, self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(1)
            now = self.cpu_seconds()
            if now - before < 0.1:
                return
            before = now

    def _watch(self) -> None:
        while not self._over.wait(WATCH_SECONDS):
            present = self.read()
            for one in present:
                if one.pid not in self.peaks or one.peak_mb > self.peaks[one.pid].peak_mb:
                    self.peaks[one.pid] = one
            for pid in self._staying.keys() - {one.pid for one in present} - self.lost.keys():
                self.lost[pid] = time.monotonic(), self._staying[pid]

    def _processes(self) -> list[psutil.Process]:
        found = []
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                found += [root, *root.children(recursive=True)]
        return found


def _reading(process: psutil.Process) -> Reading | None:
    """None where it is gone."""
    try:
        command = process.cmdline()
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except (psutil.Error, OSError):
        return None
    sizes = {
        name: int(value.split()[0]) * 1024 / _MB
        for name, _, value in (line.partition(":") for line in lines)
        if name in ("VmRSS", "VmHWM", "RssAnon")
    }
    if not command or "VmRSS" not in sizes:  # it has ended, and was not waited for
        return None
    programs = {"model_service_worker": "worker", "hashing.apart": "decoder"}
    named = [role for name, role in programs.items() if any(name in word for word in command)]
    role = named[0] if named else Path(command[0]).name
    return Reading(process.pid, role, sizes["VmRSS"], sizes["VmHWM"], sizes["RssAnon"])

"""Sending what a stranger sends, and asking beside it as good clients do."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from threading import Event, Thread
from urllib.parse import urlsplit

import httpx
from soak_requests import Hostile

from efiss_client import Client, ServiceError

PATIENCE_SECONDS = 60
"""How long an answer is waited for; TorchServe itself gives a request up after 20."""
AT_ONCE, HELD_AT_ONCE = 8, 32
"""Requests under way, and beside them those that only hold a connection."""
PAUSE_SECONDS = 0.2
"""Of a good client between two questions."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a hostile request."""

    number: int
    kind: str
    statuses: tuple[int, ...]
    is_unanswered: bool
    """Whether an answer was due and none came in PATIENCE_SECONDS."""
    start: float
    end: float
    """time.monotonic() when it was sent, and when it was over."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A service under test."""

    url: str
    admin_url: str | None

    def address(self, to_admin: bool) -> tuple[str, int]:
        parts = urlsplit(self.admin_url if to_admin and self.admin_url else self.url)
        assert parts.hostname and parts.port
        return parts.hostname, parts.port


# -- hostile -------------------------------------------------------------------------------------


async def send_all(
    place: Place,
    drawn: Callable[[int], Hostile],
    count: int,
    deadline: float,
    done: Callable[[Outcome], None],
    under_way: dict[int, Hostile],
) -> None:
    """Send the requests number 0 to count - 1, until the deadline (of time.monotonic).  under_way
    holds those that are being sent now."""
    turns = {"hold": asyncio.Semaphore(HELD_AT_ONCE), "": asyncio.Semaphore(AT_ONCE)}

    async def one(hostile: Hostile, turn: asyncio.Semaphore) -> None:
        under_way[hostile.number] = hostile
        try:
            done(await send(place, hostile, deadline))
        finally:
            del under_way[hostile.number]
            turn.release()

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            if time.monotonic() > deadline:
                break
            hostile = drawn(number)
            turn = turns.get(hostile.sent.end, turns[""])
            await turn.acquire()
            tasks.create_task(one(hostile, turn))


async def send(place: Place, hostile: Hostile, deadline: float = float("inf")) -> Outcome:
    """Send one.  One that only holds a connection lets go at the deadline."""
    patience: float = PATIENCE_SECONDS
    if hostile.sent.end == "hold":
        patience = min(patience, max(0.5, deadline - time.monotonic()))
    address, start = place.address(hostile.to_admin), time.monotonic()
    ends = await asyncio.gather(
        *(_exchange(address, hostile, patience) for _ in range(hostile.sent.connections))
    )
    statuses = tuple(status for answered, _ in ends for status in answered)
    is_unanswered = hostile.sent.end in ("answer", "half_close") and any(late for _, late in ends)
    return Outcome(hostile.number, hostile.kind, statuses, is_unanswered, start, time.monotonic())


async def _exchange(
    address: tuple[str, int], hostile: Hostile, patience: float
) -> tuple[list[int], bool]:
    """The statuses of the answers, and whether patience ended before they had come."""
    statuses: list[int] = []
    writer = None
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(*address)
            sending = asyncio.create_task(_send_steps(writer, hostile))
            try:
                if hostile.sent.end == "cut":
                    await sending
                else:
                    while len(statuses) < hostile.sent.answers:
                        statuses.append(await _status(reader))
            finally:
                sending.cancel()
    except TimeoutError:
        return statuses, True
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):  # it hung up, or is no HTTP
        return statuses, False
    finally:
        if writer is not None:
            writer.transport.abort()
    return statuses, False


async def _send_steps(writer: asyncio.StreamWriter, hostile: Hostile) -> None:
    with contextlib.suppress(OSError):  # it hung up; what it answered is read all the same
        for step in hostile.sent.steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)
        if hostile.sent.end == "half_close":
            writer.write_eof()


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, which is read to its end.  Raises EOFError, ValueError."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(maxsplit=2)[1])
        if status >= 200:
            break
    headers = dict(line.partition(":")[::2] for line in head.splitlines()[1:])
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    elif "chunked" in headers.get("transfer-encoding", ""):
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    return status


# -- good ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Question:
    """What a good client asks, and what was answered before the storm."""

    fields: dict
    answer: object = None


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question of a good client, in the storm or before it."""

    at: float
    """time.monotonic() when it was asked."""
    seconds: float
    problem: str | None
    """What was wrong with the answer."""


def answer_of(client: Client, fields: dict) -> object:
    """The part of an answer that has to be the same at any time."""
    answer = client.search(**fields)
    return answer.version, [(one.path, one.distance) for one in answer.results]


def ask_on(place: Place, questions: list[Question], clients: int, pipe: Connection) -> None:
    """Ask by several clients, to be run as a process of its own, until something comes by the pipe:
    then the answer there is a list of Asked."""
    asked: list[Asked] = []
    is_over = Event()
    threads = [
        Thread(target=_ask_search, args=(place.url, questions[first:], asked, is_over))
        for first in range(clients)
    ]
    if place.admin_url:
        threads.append(Thread(target=_ask_admin, args=(place.admin_url, asked, is_over)))
    for thread in threads:
        thread.start()
    pipe.recv()
    is_over.set()
    for thread in threads:
        thread.join()
    pipe.send(asked)


def _ask_search(url: str, questions: list[Question], asked: list[Asked], is_over: Event) -> None:
    with Client(url, timeout=PATIENCE_SECONDS) as client:
        for number in range(10**9):
            if is_over.wait(PAUSE_SECONDS):
                return
            question = questions[number % len(questions)]
            start, problem = time.monotonic(), None
            try:
                if answer_of(client, question.fields) != question.answer:
                    problem = "another answer than before"
            except ServiceError as error:
                problem = f"{error.status or error.kind}: {error}"
            asked.append(Asked(start, time.monotonic() - start, problem))


def _ask_admin(url: str, asked: list[Asked], is_over: Event) -> None:
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
        while not is_over.wait(PAUSE_SECONDS):
            for path in ("/health/live", "/api/versions", "/metrics"):
                start, problem = time.monotonic(), None
                try:
                    if (status := client.get(path).status_code) != 200:
                        problem = f"{path}: {status}"
                except httpx.HTTPError as error:
                    problem = f"{path}: {error!r}"
                asked.append(Asked(start, time.monotonic() - start, problem))

"""Clients of a service, in a process of their own: a thread and an open connection each, whose
requests are made beforehand, so that they take little of the cores that the service needs."""

import itertools
import multiprocessing
import socket
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from http.client import HTTPResponse

from efiss_client import PATH

WAIT_SECONDS = 60

_requests: dict[str, list[bytes]] = {}


def process(bodies: dict[str, tuple[str, list[bytes]]]) -> ProcessPoolExecutor:
    """A process to call `times` in.  bodies: by the name of a form, its content type and bodies."""
    requests = {
        name: [_request(content_type, body) for body in own]
        for name, (content_type, own) in bodies.items()
    }
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, initializer=_keep, initargs=(requests,))


def times(port: int, form: str, clients: int, seconds: float) -> tuple[float, list[float]]:
    """Seconds in all, and of every request that so many clients asked one after the other, all of
    one form.  Raises RuntimeError where one was not answered by 200."""
    taken: list[list[float]] = []
    begin = time.perf_counter()

    def ask(first: int) -> None:
        own: list[float] = []
        turns = itertools.cycle(_requests[form])
        with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in itertools.islice(turns, 7 * first, None):  # not all the same at once
                start = time.perf_counter()
                connection.sendall(request)
                answer = HTTPResponse(connection)
                answer.begin()
                answer.read()
                now = time.perf_counter()
                if answer.status != 200:
                    return
                own.append(now - start)
                if now - begin >= seconds:
                    break
        taken.append(own)

    threads = [threading.Thread(target=ask, args=[first]) for first in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(taken) < clients:
        raise RuntimeError("the service did not answer 200")
    return time.perf_counter() - begin, [one for own in taken for one in own]


def _keep(requests: dict[str, list[bytes]]) -> None:
    _requests.update(requests)


def _request(content_type: str, body: bytes) -> bytes:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body

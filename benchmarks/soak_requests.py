"""What a stranger may send to the service: `draw` gives one request after the other, the same ones
for a seed, as bytes and how they are sent."""

import base64
import dataclasses
from collections.abc import Callable
from random import Random

import soak_pictures
from soak_bodies import BODIES, FORMS, JSON, LARGEST, Sent, multipart, part, post

from efiss_client import PATH

Kind = Callable[[Random, str], Sent]
"""Draws one for a path."""
ADMIN_PATHS = ("/api/search", "/api/reindex", "/api/versions/1.0.0/activate")


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One request, or what is sent in place of one."""

    number: int
    kind: str
    to_admin: bool
    sent: Sent

    @property
    def content(self) -> bytes:
        return b"".join(step for step in self.sent.steps if isinstance(step, bytes))


def draw(seed: int, number: int, with_admin: bool) -> Hostile:
    """The request of this number.  with_admin: every fifth is for the admin service."""
    random = Random(f"{seed} {number}")
    (group,) = random.choices(list(_GROUPS), list(_GROUPS.values()))
    kind = random.choice(group)
    to_admin = with_admin and random.random() < 0.2
    path = random.choice(ADMIN_PATHS) if to_admin else PATH
    if group is _PICTURES:
        is_dear = random.random() < 0.5
        picture = random.choice(soak_pictures.DEAR) if is_dear else soak_pictures.ORDINARY
        name, sent = picture.__name__, kind(picture(random), path)
    else:
        name, sent = kind.__name__, kind(random, path)
    return Hostile(number, name, to_admin, sent)


# -- pictures, by every transport ----------------------------------------------------------------


def _as_json(file: bytes, path: str) -> Sent:
    return post(b'{"image": "%s", "top_k": 10, "debug": true}' % base64.b64encode(file), path)


def _as_data_url(file: bytes, path: str) -> Sent:
    return post(b'{"image": "data:image/jpeg;base64,%s"}' % base64.b64encode(file), path)


def _as_form(file: bytes, path: str) -> Sent:
    return multipart([part(b"data", b'{"image": "%s"}' % base64.b64encode(file))], path)


def _as_body(file: bytes, path: str) -> Sent:
    return post(file, f"{path}?top_k=10", "image/jpeg")


# -- HTTP itself ---------------------------------------------------------------------------------


def odd_lengths(random: Random, path: str) -> Sent:
    """Lengths that cannot be, or that are two."""
    lines = (
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 1e3",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: nonsense",
    )
    head = f"POST {path} HTTP/1.1\r\nHost: soak\r\n{random.choice(lines)}\r\n\r\n"
    return Sent((head.encode() + b"0\r\n\r\nGET /ping HTTP/1.1\r\nHost: soak\r\n\r\n",), "hold")


def odd_chunks(random: Random, path: str) -> Sent:
    """Chunks of a byte each, with long extensions, of a length that is none, or without an end."""
    head = f"POST {path} HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    body = random.choice(
        (
            b"1\r\n{\r\n" * 100_000,
            b"1;" + b"x" * 1_000_000 + b"\r\n{\r\n",
            b"zz\r\n",
            b"-1\r\n",
            b"ffffffffffffffff\r\n",
            b"%x\r\n" % LARGEST + b" " * LARGEST,
        )
    )
    return Sent((head + body + random.choice((b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"")),), "hold")


def odd_head(random: Random, path: str) -> Sent:
    """Long lines, many headers, and what is no HTTP."""
    line = f"GET {random.choice(('/ping', path))} HTTP/1.1\r\nHost: soak\r\n".encode()
    head = random.choice(
        (
            line + b"A: b\r\n" * random.choice((200, 10_000)),
            line + b"A: " + b"b" * 100_000,
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
            line + b"A\0: b\r\n",
            line + b" folded: b\r\n",
            b"GET /ping HTTP/9.9\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            random.randbytes(5000),
        )
    )
    return Sent((head + b"\r\n\r\n",), "hold")


def other_route(random: Random, path: str) -> Sent:
    """Routes of TorchServe and of the admin service that a stranger knows, by any method."""
    routes = (
        "/models",
        "/workflows?url=https://none.invalid/a.war",
        "/models?url=file:///etc/passwd",
        "/explanations/image-retrieval-v1.0",
        "/wfpredict/a",
        "/api-description",
        "/token?type=x",
        "/predictions/other",
        f"{PATH}/2.0",
        f"{PATH}?top_k=1&data=2",
        "/metrics",
        "/../../etc/passwd",
        "/v1/models/a:predict",
        "/api/jobs/1/events",
        "/api/thumbnail?path=/etc/passwd",
        "*",
        "/api/rollback",
        "/%00",
        "/page/../../a",
        "/health/ready",
        "/docs",
        "",
    )
    method = random.choice(
        ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "CONNECT", "a")
    )
    head = f"{method} {random.choice(routes)} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n"
    more = "X-Forwarded-For: 9.9.9.9\r\nAuthorization: Bearer wrong-wrong-wrong\r\n"
    return Sent((f"{head}{more}Content-Length: 2\r\n\r\n{{}}".encode(),), "hold")


# -- connections ---------------------------------------------------------------------------------

_SMALL = b'{"code": "0123456789abcdef", "top_k": 3}'


def silent(random: Random, path: str) -> Sent:
    """Connections on which nothing is sent."""
    return Sent((), "hold", connections=random.choice((1, 1, 20, 300)))


def slow_head(random: Random, path: str) -> Sent:
    """A letter of the head every second."""
    head = f"POST {path} HTTP/1.1\r\nHost: soak\r\nX-Slow: {'x' * 100}"
    return Sent(tuple(step for letter in head for step in (letter.encode(), 1.0)), "hold")


def slow_body(random: Random, path: str) -> Sent:
    """A body of 31 MB that is never whole."""
    head = f"POST {path} HTTP/1.1\r\nHost: soak\r\nContent-Length: 31000000\r\n\r\n".encode()
    first = b" " * random.choice((1, 1_000_000, 30_000_000))
    return Sent(
        (head + first, *(step for _ in range(100) for step in (1.0, b" "))),
        "hold",
        connections=random.choice((1, 4)),
    )


def cut_body(random: Random, path: str) -> Sent:
    """A request that breaks off, at any place."""
    (whole,) = post(_SMALL + b" " * random.choice((0, 100_000, 5_000_000)), path).steps
    assert isinstance(whole, bytes)
    return Sent((whole[: random.randrange(len(whole))], random.choice((0.0, 0.1))), "cut")


def left_early(random: Random, path: str) -> Sent:
    """A whole request by one who does not wait for the answer."""
    return Sent((*_as_json(soak_pictures.changed_picture(random), path).steps, 0.01), "cut")


def half_closed(random: Random, path: str) -> Sent:
    """One who closes the sending side, and waits."""
    return dataclasses.replace(post(_SMALL, path), end="half_close")


def pipelined(random: Random, path: str) -> Sent:
    """Requests that do not wait for the answers before."""
    count = random.choice((2, 5, 100))
    (whole,) = post(_SMALL, path).steps
    assert isinstance(whole, bytes)
    return Sent((whole * count,), "hold", answers=count)


def expecting(random: Random, path: str) -> Sent:
    """One who asks whether the body may come, and sends nothing more, or who does not listen."""
    more = "Expect: 100-continue\r\n"
    (whole,) = post(_SMALL, path, more=more).steps
    assert isinstance(whole, bytes)
    return Sent((random.choice((whole, whole[: -len(_SMALL)])),), "hold")


_PICTURES: tuple[Callable, ...] = (_as_json, _as_data_url, _as_form, _as_body)
_GROUPS: dict[tuple[Callable, ...], int] = {
    _PICTURES: 45,
    JSON: 20,
    FORMS: 12,
    BODIES: 6,
    (odd_lengths, odd_chunks, odd_head, other_route): 8,
    (silent, slow_head, slow_body, cut_body, left_early, half_closed, pipelined, expecting): 9,
}
"""Kinds, and how often a group's turn comes, in percent."""


def kinds() -> list[Kind]:
    """All that are no pictures."""
    return [kind for group in _GROUPS if group is not _PICTURES for kind in group]

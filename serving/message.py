"""What travels between a client, the front and TorchServe: HTTP/1 requests and answers."""

import dataclasses
import http
import json
import time

from handlers import QUERY_HEADER, WATCH_HEADER, handed

Headers = list[tuple[bytes, bytes]]
"""(name, value) as they were sent."""

OF_THE_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
     b"upgrade", b"http2-settings", b"content-length", b"expect")
)  # fmt: skip
"""Headers, in small letters, that are about one connection and go no further."""
_NOT_FROM_CLIENTS = OF_THE_CONNECTION | {
    name.encode() for name in (WATCH_HEADER, QUERY_HEADER, handed.HEADER)
}


@dataclasses.dataclass(slots=True)
class Request:
    """What a client sends; filled while it is read."""

    method: bytes = b""
    target: bytes = b""
    """Path and query, as they were sent."""
    headers: Headers = dataclasses.field(default_factory=list)
    body: bytearray = dataclasses.field(default_factory=bytearray)
    keeps_alive: bool = True
    """Whether the client wants its connection kept after the answer."""
    began: float = dataclasses.field(default_factory=time.monotonic)

    def header(self, name: bytes) -> bytes | None:
        """Its first value.  name: in small letters."""
        return next((value for sent, value in self.headers if sent.lower() == name), None)

    def head_as_sent(self, without: bytes) -> bytes:
        """As it came, but for headers of a name, in small letters."""
        lines = [self.method + b" " + self.target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name.lower() != without]
        return b"\r\n".join([*lines, b"", b""])

    def head(self, more: Headers, size: int) -> bytes:
        """As it goes to TorchServe: of one meaning, however it was sent.

        more: headers of the front's own.  size: bytes of the body that follows.
        """
        # TorchServe knows no HEAD.
        method = b"GET" if self.method == b"HEAD" else self.method
        path, _, query = self.target.partition(b"?")
        lines = [method + b" " + path + b" HTTP/1.1"]
        lines += [
            name + b": " + value
            for name, value in self.headers
            if name.lower() not in _NOT_FROM_CLIENTS
        ]
        if query:
            lines.append(QUERY_HEADER.encode() + b": " + query)
        lines += [name + b": " + value for name, value in more]
        lines.append(b"content-length: %d\r\n\r\n" % size)
        return b"\r\n".join(lines)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a client is answered, by TorchServe or by the front."""

    status: int
    headers: Headers
    body: bytes
    kind: str | None = None
    """Of a refusal of the front's own, its type; the connection ends with it."""

    @property
    def closes(self) -> bool:
        """Whether nothing more is read from the client."""
        return self.kind is not None

    def whole(self, request: Request, keeps_alive: bool) -> bytes:
        """As it goes to the client that sent the request."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, _reason(self.status))]
        lines += [name + b": " + value for name, value in self.headers]
        lines.append(b"content-length: %d" % len(self.body))
        lines.append(b"connection: " + (b"keep-alive" if keeps_alive else b"close"))
        body = b"" if request.method == b"HEAD" else self.body
        return b"\r\n".join([*lines, b"", body])


def refusal(status: int, kind: str, message: str, retry_after: int | None = None) -> Answer:
    """An answer of the front's own, in the form of the worker's mistakes.

    retry_after: seconds after which the client may ask again.
    """
    body = json.dumps({"code": status, "type": kind, "message": message}).encode()
    headers = [(b"content-type", b"application/json")]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    return Answer(status, headers, body, kind)


def _reason(status: int) -> bytes:
    try:
        return http.HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown"

"""What a client's connection may take, in time and bytes; and what it is told beyond that."""

from serving.message import refusal

LONGEST_HEAD = 8192 - 64
"""Bytes of a request's headers; TorchServe reads 64 more, for one of the front's own."""
WIRE_SPARE = 2**16
"""Bytes that a request may take on the wire beside twice its body."""
MOST_AHEAD = 32
"""Requests that a client may send before it has the answer of the first."""
HEAD_SECONDS = 10
"""Until the first request of a connection, or the rest of one's headers, must have come."""
IDLE_SECONDS = 75
"""That a connection may wait for its next request."""
BODY_SECONDS, LEAST_RATE = 10, 16_000
"""In every so many seconds of a body so many bytes a second must come."""
TAKE_SECONDS = 30
"""Until a client must have taken its answer."""
LINGER_SECONDS = 5
"""That a refused client may go on sending, so that it reads why."""

NOT_HTTP = refusal(400, "not_http", "the request is not HTTP/1.1 as it should be")
LONG_HEAD = refusal(431, "long_headers", f"the headers are over {LONGEST_HEAD} bytes long")
WASTEFUL = refusal(400, "small_chunks", "the body comes in too small chunks")
TOO_MANY = refusal(
    429, "busy", "wait for answers before sending more requests on a connection", retry_after=1
)
SLOW = refusal(
    408, "slow", f"the request comes too slowly: at least {LEAST_RATE // 1000} KB/s are asked for"
)

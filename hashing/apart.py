"""Decoding in a process of its own, with limits on its time and memory.

For formats whose headers do not bind their decoders (AV1, HEVC and JPEG 2000 streams may hold more
than the file's headers say), and whose decoders are large: what one of them does ends with its
process, and is no crash of ours.  This file is also the program of that process.
"""

import contextlib
import importlib
import io
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from hashing.frames import UPRIGHT_BY, load_picture
from hashing.stored import MOST_FRAMES, ORIENTATION
from machine.processes import give_memory_back

SECONDS = 0.7
"""Of a core, for one picture; then the process is ended."""
MEMORY = 420_000_000
"""Bytes that the process may have, some 50 MB of them before it decodes."""
IDLE_SECONDS = 60
"""After so long without a picture the process ends itself."""

PIXELS_OF_ANIMATIONS = 8_000_000
"""Of all frames together that are looked at after the first."""

_ORDER = struct.Struct("<QQI16s")  # length of the file, most pixels, scale, format
_ANSWER = struct.Struct("<QII8s")  # length of what follows, width, height, mode; no mode: a reason

_of_thread = threading.local()
"""Each thread has a process of its own, so that they decode side by side."""


def heif_reader() -> str | None:
    """The installed module that reads HEIC, None without one: `pi_heif`, which only reads, or
    `pillow_heif`, whose wheels also hold an encoder under the GPL."""
    return next((name for name in ("pi_heif", "pillow_heif") if find_spec(name)), None)


def decode(data: bytes, file_format: str, most_pixels: int, scale: int) -> Image.Image:
    """The picture, upright, both sides divided by `scale`, in the mode that its decoder gives.

    Raises ValueError where it is damaged, has more pixels, or would cost too much."""
    order = _ORDER.pack(len(data), most_pixels, scale, file_format.encode()) + data
    image = _asked(_running(), order)
    if image is None and _of_thread.process.wait() == 0:  # it had just ended itself
        image = _asked(_running(), order)
    if image is not None:
        return image
    ended = _of_thread.process.wait()
    if ended == -signal.SIGPROF:
        raise ValueError("decoding it takes too long")
    raise ValueError(f"its decoder ended with {ended}")


def _running() -> subprocess.Popen:
    """The process of this thread."""
    process = getattr(_of_thread, "process", None)
    if process is None or process.poll() is not None:
        _of_thread.process = process = _started()
    return process


def _started() -> subprocess.Popen:
    root = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "hashing.apart"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what decoders say of hostile files would fill the log
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])},
    )


def _asked(process: subprocess.Popen, order: bytes) -> Image.Image | None:
    """The picture that the process answers with, None where it has ended."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(order)
        process.stdin.flush()
    head = process.stdout.read(_ANSWER.size)
    if len(head) < _ANSWER.size:
        return None
    length, width, height, mode = _ANSWER.unpack(head)
    body = process.stdout.read(length)
    if len(body) < length:
        return None
    if not mode.rstrip(b"\0"):
        raise ValueError(body.decode(errors="replace"))
    return Image.frombytes(mode.rstrip(b"\0").decode(), (width, height), body)


# -- the process ---------------------------------------------------------------------------------


def _serve() -> None:
    """Answer orders until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, it is for the other process
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Image.MAX_IMAGE_PIXELS = None
    if reader := heif_reader():
        heif = importlib.import_module(reader)
        heif.options.DECODE_THREADS = 1
        heif.register_heif_opener()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while select.select([source], [], [], IDLE_SECONDS)[0]:
        order = source.read(_ORDER.size)
        if len(order) < _ORDER.size:
            return
        length, most_pixels, scale, name = _ORDER.unpack(order)
        data = source.read(length)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            image = _small(data, name.rstrip(b"\0").decode(), most_pixels, scale)
            mode, body = image.mode.encode(), image.tobytes()
            answer = _ANSWER.pack(len(body), *image.size, mode) + body
            del image, body
        except Exception as error:  # decoders raise nearly anything; MemoryError included
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200].encode()
            answer = _ANSWER.pack(len(reason), 0, 0, b"") + reason
        signal.setitimer(signal.ITIMER_PROF, 0)
        sink.write(answer)
        sink.flush()
        del data, answer
        give_memory_back()


def _small(data: bytes, file_format: str, most_pixels: int, scale: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data), formats=[file_format])
    pixels = image.width * image.height
    if pixels > most_pixels:
        raise ValueError("its headers contradict each other")
    frames = min(MOST_FRAMES, getattr(image, "n_frames", 1), 1 + PIXELS_OF_ANIMATIONS // pixels)
    load_picture(image, frames)
    turn = UPRIGHT_BY.get(image.getexif().get(ORIENTATION, 1))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not image.mode.startswith(("I", "F")):
        image = Image.Image.reduce(image, scale) if scale > 1 else image
    return image if turn is None else image.transpose(turn)


if __name__ == "__main__":
    _serve()

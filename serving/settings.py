"""How a service is run: what the environment and config.properties say, and what follows."""

import dataclasses
from pathlib import Path

from machine import container, settings
from machine.errors import Problem
from serving.front import Limits

MOST_WORKERS_BY_DEFAULT, WORKER_MB = 4, 350
MOST_HEAP_BY_DEFAULT = 1024
JAVA_MB = 200
"""What Java takes beside its heap and its direct memory."""
SUPERVISOR_MB = 100
"""What this process takes beside the bodies of requests."""
LEAST_BODIES = 2
"""Of the largest size, that there is always room for."""


class StartError(Problem):
    """The service did not start, or does not run any more; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to run the service."""

    host: str
    """IPv4 address to listen on."""
    port: int
    """First of a block of six: +0 predictions, +5 metrics."""
    workers: int
    """Processes that answer."""
    batch_size: int
    """Requests a worker answers at once."""
    batch_delay: int
    """Milliseconds that it waits for that many."""
    heap: int
    """Of Java, in MB."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """What `machine.settings` has for it.  Raises SettingError."""
        heap = settings.HEAP.value() or default_heap()
        return cls(
            host=settings.HOST.value(),
            port=settings.PORT.value(),
            workers=settings.WORKERS.value() or default_workers(heap),
            batch_size=settings.BATCH.value(),
            batch_delay=settings.BATCH_DELAY.value(),
            heap=heap,
        )

    @property
    def url(self) -> str:
        """Where a client on this machine sends its requests."""
        return settings.url_of(self.host, self.port)

    @property
    def direct(self) -> int:
        """MB that Java may take outside its heap; bodies lie there while they pass."""
        return self.heap // 2

    def limits(self, config: Path) -> Limits:
        """What the front lets pass.  config: a TorchServe config.properties.  Raises StartError."""
        properties = read_properties(config)
        body = _number(properties, "max_request_size", config)
        return Limits(
            body=body,
            bodies=max(self.heap * 2**20 // 4, LEAST_BODIES * body),
            # A body lies in Java three times while it passes through, in heap and direct memory.
            passed_on=self.heap * 2**20 // 16,
            requests=_number(properties, "job_queue_size", config),
            origin=properties.get("cors_allowed_origin", ""),
        )


def default_heap() -> int:
    """MB of Java's heap: a quarter of what the container allows, so that Java as a whole takes
    about half and leaves the rest to bodies and workers."""
    memory = container.memory()
    if memory is None:
        return MOST_HEAP_BY_DEFAULT
    return max(settings.LEAST_HEAP, min(memory // 2**20 // 4, MOST_HEAP_BY_DEFAULT))


def default_workers(heap: int) -> int:
    """As many as there are cores, and no more than the container has memory for beside Java."""
    workers = min(container.available_cores(), MOST_WORKERS_BY_DEFAULT)
    memory = container.memory()
    if memory is None:
        return workers
    java = heap + heap // 2 + JAVA_MB
    left = memory / 2**20 - java - SUPERVISOR_MB - heap // 4 - heap // 16
    return max(1, min(workers, int(left / WORKER_MB)))


def read_properties(config: Path) -> dict[str, str]:
    """The lines name=value of the file."""
    lines = config.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, value in pairs}


def _number(properties: dict[str, str], name: str, config: Path) -> int:
    value = properties.get(name, "")
    if not value.isdecimal() or int(value) < 1:
        raise StartError(f"{config}: {name} must be a whole number, not {value!r}")
    return int(value)

"""What a container allows, as both versions of Linux's control groups write it."""

import pytest

from machine import container
from serving.settings import Settings

V1_NO_LIMIT = "9223372036854771712\n"


@pytest.fixture
def limited(tmp_path, monkeypatch):
    """limited({file: text}): this process is in a container with these files."""
    monkeypatch.setattr(container, "ROOT", tmp_path)
    monkeypatch.setattr(container.os, "sched_getaffinity", lambda process: set(range(8)))

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)

    return write


def v1_cores(quota: int) -> dict[str, str]:
    return {"cpu/cpu.cfs_quota_us": f"{quota}\n", "cpu/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [({}, 8), ({"cpu.max": "max 100000\n"}, 8), ({"cpu.max": "150000 100000\n"}, 2),
     ({"cpu.max": "10000 100000\n"}, 1), ({"cpu.max": "6400000 100000\n"}, 8),
     (v1_cores(-1), 8), (v1_cores(300000), 3)],
)  # fmt: skip
def test_cores_are_those_of_the_container(limited, files, cores):
    limited(files)
    assert container.available_cores() == cores


@pytest.mark.parametrize(
    ("files", "memory"),
    [({}, None), ({"memory.max": "max\n"}, None), ({"memory.max": "1073741824\n"}, 2**30),
     ({"memory/memory.limit_in_bytes": V1_NO_LIMIT}, None),
     ({"memory/memory.limit_in_bytes": "536870912\n"}, 2**29)],
)  # fmt: skip
def test_memory_is_that_of_the_container(limited, files, memory):
    limited(files)
    assert container.memory() == memory


@pytest.mark.parametrize(
    ("megabytes", "heap", "workers"),
    [(None, 1024, 4), (256, 64, 1), (512, 128, 1), (1024, 256, 1), (2048, 512, 2),
     (4096, 1024, 4), (65536, 1024, 4)],
)  # fmt: skip
def test_heap_and_workers_fit_into_the_container(limited, monkeypatch, megabytes, heap, workers):
    for name in ("EFISS_HEAP_MB", "EFISS_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    limited({} if megabytes is None else {"memory.max": f"{megabytes * 2**20}\n"})
    chosen = Settings.from_environment()
    assert (chosen.heap, chosen.workers) == (heap, workers)


def test_what_is_set_holds_in_a_container_too(limited, monkeypatch):
    limited({"memory.max": f"{2**30}\n"})
    monkeypatch.setenv("EFISS_HEAP_MB", "2048")
    monkeypatch.setenv("EFISS_WORKERS", "6")
    chosen = Settings.from_environment()
    assert (chosen.heap, chosen.workers) == (2048, 6)

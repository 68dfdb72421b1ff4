"""Requests a second that the handler answers without HTTP and TorchServe, in processes of its own:
what the served path can at most reach.  Run it from the root of the repository, where a version is
live (`make run` leaves one)."""

import base64
import itertools
import json
import logging
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

import click

import photographs
from efiss.commands.options import INDEX_ROOT
from machine.container import available_cores
from machine.settings import INDEX

METRICS = Path(__file__).parents[1] / "handlers" / "metrics.yaml"


def requests_a_second(
    index_root: Path, bodies: list[bytes], processes: int, seconds: float
) -> tuple[float, float]:
    """Of so many handlers, one thread each, that follow `index_root` and answer the bodies of
    requests one by one; and the CPU seconds of a request.  Raises RuntimeError where one of them
    ends early or an answer is a refusal."""
    spawn = multiprocessing.get_context("spawn")
    ends, workers = [], []
    for _ in range(processes):
        end, other = spawn.Pipe()
        worker = spawn.Process(target=_work, args=(other, index_root.resolve(), bodies, seconds))
        worker.start()
        other.close()
        ends.append(end)
        workers.append(worker)
    try:
        for end in ends:
            end.recv()  # it is ready
        for end in ends:
            end.send("begin")
        rates, cpu_seconds = zip(*(end.recv() for end in ends), strict=True)
        return sum(rates), sum(cpu_seconds) / processes
    except EOFError:
        raise RuntimeError("a handler ended early; what it printed says why") from None
    finally:
        for end, worker in zip(ends, workers, strict=True):
            end.close()
            worker.join()


def _work(end: Connection, index_root: Path, bodies: list[bytes], seconds: float) -> None:
    from ts.context import Context, RequestProcessor
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

    from handlers.image_retrieval import ImageRetrievalHandler

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a worker prints its metrics
    logging.basicConfig(filename=os.devnull)  # and a line for each request
    os.environ[INDEX.name] = str(index_root)
    metrics = MetricsCacheYamlImpl(str(METRICS))
    metrics.initialize_cache()
    context = Context("image-retrieval-v1.0", str(index_root), None, 1, None, "", metrics=metrics)
    handler = ImageRetrievalHandler()
    handler.initialize(context)

    def ask(body: bytes) -> None:
        context.request_processor = [RequestProcessor({})]
        context.request_ids = {0: "in-process"}
        (answer,) = handler.handle([{"body": body}], context)
        if "relevant" not in answer:
            raise RuntimeError(f"a request was refused: {answer}")
        json.dumps(answer)

    for body in bodies[:5]:
        ask(body)
    end.send("ready")
    end.recv()
    start, cpu, count = time.perf_counter(), time.process_time(), 0
    for body in itertools.cycle(bodies):
        ask(body)
        count += 1
        if time.perf_counter() - start >= seconds:
            break
    end.send((count / (time.perf_counter() - start), (time.process_time() - cpu) / count))


@click.command()
@INDEX_ROOT
@click.option("--processes", type=click.IntRange(1), default=available_cores)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10, show_default=True)
def in_process(index_root: Path, processes: int, seconds: float) -> None:
    """Measure with the demo's photographs as JSON."""
    files = [photograph.file for photograph in photographs.queries()]
    bodies = [
        json.dumps({"image": base64.b64encode(file.read_bytes()).decode(), "top_k": 10}).encode()
        for file in files
    ]
    rate, cpu = requests_a_second(index_root, bodies, processes, seconds)
    click.echo(f"{processes} processes: {rate:.1f} requests/s, {1e3 * cpu:.1f} ms of a core each")


if __name__ == "__main__":
    in_process()

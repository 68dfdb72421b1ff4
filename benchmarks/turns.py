"""Hashes pictures each time it is told to, with the program that PYTHONPATH names; a process of
`indexing.py --against`.

The first line of its input is JSON: paths, model_path, device, workers.  To every further line it
answers with seconds and CPU seconds, as JSON.
"""

import inspect
import json
import sys
import time
from collections import deque

import torch

from hashing.files import hash_files
from hashing.model import Model


def main() -> None:
    order = json.loads(sys.stdin.readline())
    workers = order["workers"]
    torch.set_num_threads(1)  # as `efiss index` has it
    takes_threads = "threads" in inspect.signature(Model.load).parameters  # older ones do not
    model = Model.load(
        order["model_path"], order["device"], **({"threads": workers} if takes_threads else {})
    )
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        deque(hash_files(order["paths"], model, workers=workers), maxlen=0)
        taken = time.perf_counter() - start, time.process_time() - cpu
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()

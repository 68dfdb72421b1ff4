"""Several processes that train one network together, started by torchrun; one alone without it."""

import ctypes
import os
import platform

import torch
import torch.distributed as dist

from machine.errors import Problem


class ProcessesError(Problem):
    """The processes cannot work together; the message says why."""


def join(device: str) -> torch.device:
    """Join the processes that torchrun started, if it did, and return this one's device.

    device: `cpu`, or `cuda`: then every process takes the GPU of its local rank.
    Raises ProcessesError.
    """
    if device not in ("cpu", "cuda"):
        raise ProcessesError(f"--device {device} is not one; use cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ProcessesError("--device cuda: this machine has no usable CUDA GPU; use --device cpu")
    local = int(os.environ.get("LOCAL_RANK", 0))
    where = torch.device("cuda", local) if device == "cuda" else torch.device(device)
    if where.type == "cuda" and where.index >= torch.cuda.device_count():
        raise ProcessesError(
            f"process {local} of this machine finds {torch.cuda.device_count()} usable CUDA GPU(s);"
            " start no more processes than GPUs, or use --device cpu"
        )
    if where.type == "cuda":
        torch.cuda.set_device(where)  # else barriers of all processes meet on the first GPU
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    return where


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next step.  By default it gives large blocks back to
    the system, whose pages are then cleared again and again: on a CPU, steps of 32 pictures took
    1.25 times as long."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no block from the system by itself
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def leave() -> None:
    """Leave the other processes; nothing where there are none."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number among all; 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def count_here() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if dist.is_initialized() else 1


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def share(n: int) -> slice:
    """The rows of a batch of n that are this process's, in the order of the ranks."""
    return slice(n * rank() // count(), n * (rank() + 1) // count())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty_like(rows) for _ in range(count())]
        dist.all_gather(parts, rows.contiguous())
        context.share = rows.shape[1]
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        # Every process computes the loss of the whole batch.  The average that DDP takes over the
        # processes is the whole gradient only if each one's share counts `count` times.
        start = rank() * context.share
        return gradient[:, start : start + context.share] * count()


def gather(rows: torch.Tensor) -> torch.Tensor:
    """Rows of all processes: [views, n, d] of each -> [views, n * processes, d], in the order of
    the ranks; a gradient flows back to this process's own rows."""
    return _Gather.apply(rows) if count() > 1 else rows

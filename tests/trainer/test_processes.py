"""Several processes, started by torchrun, against one on the same batches."""

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner

from efiss.cli import main
from photographs import queries
from tests.running import ROOT
from trainer import processes
from trainer.processes import ProcessesError, join, share


def test_one_process_alone_has_everything():
    assert (processes.rank(), processes.count(), processes.count_here()) == (0, 1, 1)
    assert share(8) == slice(0, 8)
    rows = torch.zeros(2, 3, 4)
    assert processes.gather(rows) is rows
    processes.wait_for_all()
    processes.leave()
    assert join("cpu") == torch.device("cpu")


def test_shares_are_even_and_follow_each_other(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 4)
    shares = []
    for rank in range(4):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        shares.append(share(12))
    assert shares == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    with pytest.raises(ProcessesError, match="start no more processes than GPUs, or use --device"):
        join("cuda")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for photograph in queries():
        (folder / photograph.label).mkdir(exist_ok=True)
        shutil.copy(photograph.file, folder / photograph.label)
    return folder


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess:
    """`torchrun` on the loopback interface; it ends its processes."""
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count),
            "--master-addr", "127.0.0.1", "--master-port", str(free_port()), *arguments,
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=600,
    )  # fmt: skip


@pytest.mark.slow("starts two processes that train")
def test_two_processes_train_the_network_that_one_does(data, tmp_path):
    """With the default augmentation and terms, in a few steps of 8 pictures, and a backbone without
    batch norms: of these each process on a CPU takes its own share's statistics."""
    values = ("epochs=1", "batch_size=8", "input_size=32", "training_sizes=[32]", "averaging=0")
    values += ("backbone=tests.training:Tiny", "pretrained=false")
    command = ["train", "--data", str(data), "--threads", "1"]
    command += [part for value in values for part in ("--set", value)]
    threads = torch.get_num_threads()
    one = CliRunner().invoke(main, [*command, "--run", str(tmp_path / "one")])
    torch.set_num_threads(threads)
    assert one.exit_code == 0, one.output
    two = torchrun(2, "-m", "--", "efiss", *command, "--run", str(tmp_path / "two"))
    assert two.returncode == 0, two.stderr
    assert "training on cpu in 1 process(es)" in one.stdout
    assert "training on cpu in 2 process(es)" in two.stdout
    assert two.stdout.count("wrote ") == 1 and (tmp_path / "two" / "two.pt").exists()

    losses = [
        dict(re.findall(r"(\w+) (\d\.\d+)", text[text.rindex("(100%)") :]))
        for text in (one.stderr, two.stderr)
    ]
    assert losses[0].keys() == {"relahash", "instance", "embedding"}
    for name, value in losses[0].items():
        assert float(losses[1][name]) == pytest.approx(float(value), abs=2e-3), name
    wanted, got = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("one", "two")
    )
    for name, value in wanted["network"].items():
        # Where a gradient is nearly 0, AdamW's steps go by its rounding.
        assert torch.allclose(value, got["network"][name], atol=2e-3), name
    # AdamW's steps do not tell how large a gradient was; its moments do.
    moments = wanted["optimizer"]["state"]
    assert len(moments) == 6
    for number, own in moments.items():
        for name in ("exp_avg", "exp_avg_sq"):
            other = got["optimizer"]["state"][number][name]
            assert (own[name] - other).norm() <= 1e-3 * own[name].norm() + 1e-9, (number, name)

"""What TensorBoard is told of a training run."""

import sys

import pytest

from trainer.data import DataError
from trainer.tensorboard import log
from trainer.train import Progress


def test_tensorboard_that_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DataError, match=r"pip install 'efiss-ai\[tensorboard\]'"), log(tmp_path):
        pass


def test_tensorboard_gets_losses_rate_and_speed_of_every_step(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            written.append("closed")

    stand_in = type(sys)("tensorboard")
    stand_in.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    with log(tmp_path) as tell:
        tell(Progress(7, 4000, {"relahash": 2.8126, "instance": 0.4}, 0.003, 104.7, 3492.4))
    assert written == [
        str(tmp_path / "tensorboard"),
        ("loss/relahash", 2.8126, 7),
        ("loss/instance", 0.4, 7),
        ("learning_rate", 0.003, 7),
        ("pictures_per_second", 104.7, 7),
        "closed",
    ]

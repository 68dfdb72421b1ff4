"""The four Dockerfiles: the same file in two places, for two kinds of torch."""

import difflib

import pytest

from efiss.cli import COMMANDS
from tests.running import ROOT


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_both_places_hold_the_same_file(name):
    assert (ROOT / name).read_bytes() == (ROOT / "searcher" / name).read_bytes()
    assert not (ROOT / "searcher" / name).is_symlink()  # which BuildKit does not follow


def test_the_two_differ_in_torch_and_in_what_nvidia_is_told():
    cpu, cuda = (
        (ROOT / name).read_text().split("\n") for name in ("Dockerfile", "Dockerfile.cuda")
    )
    changed = [line[2:].rstrip(" \\") for line in difflib.ndiff(cpu, cuda) if line[0] in "-+"]
    assert [line for line in changed if line[:1] != "#"] == [
        "ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu",
        "ARG TORCH_INDEX_URL=",
        "    EFISS_MODELS=torchscripts_models",
        "    EFISS_MODELS=torchscripts_models",
        "    NVIDIA_VISIBLE_DEVICES=all",
        "    NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ]


def test_no_program_of_the_image_hides_a_command(once):
    done = once("bash", "-c", 'type -P "$@"', "bash", *COMMANDS)
    assert done.stdout == ""

"""`python indexer/main.py`, as it is typed."""

import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from efiss.cli import main as efiss
from efiss.commands.index import index as command
from searcher import open_version
from searcher.index import Index

REPOSITORY = Path(__file__).parents[2]


def draw(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    blots = rng.integers(0, 256, (rng.integers(2, 9), rng.integers(2, 9), 3), np.uint8)
    Image.fromarray(blots).resize((80, 60), Image.Resampling.BICUBIC).save(path, quality=90)
    then = time.time() - 60  # what was changed just now proves nothing
    os.utime(path, (then, then))


def write_list(folder: Path, paths) -> None:
    (folder / "database_info.txt").write_text("".join(f"{path}\n" for path in paths))


def read_summary(output: str) -> tuple[int, ...]:
    """Hashed now, known by path, size and time, known by content, duplicates, repeated lines,
    rejected."""
    line = (
        r"hashed now (\d+), known by path, size and time (\d+), known by content (\d+), "
        r"duplicates (\d+), repeated lines (\d+), rejected (\d+)\n"
    )
    return tuple(map(int, re.search(line, output).groups()))


# -- the command ---------------------------------------------------------------------------------


def test_options_and_their_defaults():
    assert [option.opts for option in command.params if option.required] == [
        ["--new_index_database_version"]
    ]
    parsed = command.make_context("index", ["--new_index_database_version", "1.5.0"]).params
    assert {option.opts[0][2:]: parsed[option.name] for option in command.params} == {
        "database": Path("database_info.txt"),
        "model_path": Path("torchscripts_models/relahash-medium-64bits.pt"),
        "device": "cpu",
        "new_index_database_version": "1.5.0",
        "dump_index_path": Path("index"),
        "num_workers": len(os.sched_getaffinity(0)),
        "batch_size": 32,
        "image_size": None,  # the model's own
        "index_mode": "default",
        "max_rejected": 5.0,
        "trust_content": False,
        "engine": "threads",
        "ray_address": None,
        "force": False,
        "shop_depth": None,
    }


def test_help_names_every_option():
    output = CliRunner().invoke(command, ["--help"]).output
    for option in command.params:
        assert option.opts[0] in output
        assert option.help


@pytest.fixture
def shop(tmp_path, monkeypatch, tiny_models):
    """Call it with options: it indexes 20 pictures with a model that takes no time."""
    monkeypatch.chdir(tmp_path)
    paths = [f"data/abc.com/{i}_abc_com.jpg" for i in range(20)]
    for seed, path in enumerate(paths):
        draw(Path(path), seed)
    write_list(tmp_path, paths)

    def index(version="1.0.0", *options):
        given = ["--model_path", tiny_models[0], "--new_index_database_version", version]
        return CliRunner().invoke(efiss, ["index", *map(str, given), *options])

    return index


def failed(result, *words) -> None:
    """It ends with a sentence and an exit code, and nothing is published."""
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output
    assert Index(Path("index")).versions() == []


def test_ends_with_a_summary(shop):
    result = shop()
    assert result.exit_code == 0
    assert re.match(r"version 1\.0\.0 in index/1\.0\.0: 20 images in \d+\.\d s\n", result.stdout)
    assert read_summary(result.stdout) == (20, 0, 0, 0, 0, 0)


def test_the_summary_counts_what_was_known_twice_and_left_out(shop, tmp_path):
    shop()
    Path("data/abc.com/3_abc_com.jpg").unlink()
    lines = Path("database_info.txt").read_text()
    draw(Path("data/abc.com/new.jpg"), 100)
    Path("database_info.txt").write_text(f"{lines}{lines}data/abc.com/new.jpg\n")
    result = shop("1.1.0")
    assert result.exit_code == 0
    assert read_summary(result.stdout) == (1, 19, 0, 0, 20, 1)
    assert "rejected: data/abc.com/3_abc_com.jpg (No such file or directory)" in result.stderr


def test_many_rejected_are_named_in_the_file_alone(shop):
    for i in range(10):
        Path(f"data/abc.com/{i}_abc_com.jpg").unlink()
    result = shop("1.0.0", "--max_rejected", "50")
    assert result.exit_code == 0
    assert result.stderr.count("rejected: ") == 5
    assert "all of them: index/1.0.0/rejected.csv" in result.stderr


def test_too_many_rejected(shop):
    for i in range(2):
        Path(f"data/abc.com/{i}_abc_com.jpg").write_text("")
    failed(shop(), "2 of 20 pictures", "allows 5 %", "0_abc_com.jpg", "index/rejected-1.0.0.csv")
    report = Path("index/rejected-1.0.0.csv")
    assert report.read_text().count("\n") == 3
    assert shop("1.0.0", "--max_rejected", "10").exit_code == 0
    assert not report.exists()  # the version has its own


def test_an_empty_catalogue(shop, tmp_path):
    write_list(tmp_path, [])
    failed(shop(), "database_info.txt holds no image path", "extract_datalake.sh")


def test_a_missing_catalogue(shop):
    Path("database_info.txt").unlink()
    failed(shop(), "database_info.txt is missing", "extract_datalake.sh")


@pytest.mark.parametrize("version", ["1.5", "v1.5.0", "latest"])
def test_not_a_version_number(shop, version):
    failed(shop(version), f"'{version}' is not a version number", "MAJOR.MINOR.PATCH")


def test_a_missing_model(shop):
    failed(shop("1.0.0", "--model_path", "nothing.pt"), "nothing.pt: no such model")


def test_another_image_size(shop):
    failed(shop("1.0.0", "--image_size", "224"), "--image_size 224", "leave the option out")


def test_a_file_in_the_place_of_the_index_folder(shop):
    Path("index").touch()
    failed(shop(), "index cannot be written")


def test_a_version_that_exists(shop, tmp_path):
    shop()
    write_list(tmp_path, ["data/abc.com/7_abc_com.jpg"])
    result = shop()
    assert result.exit_code == 1
    assert "1.0.0 exists" in result.output
    assert "--force" in result.output
    assert open_version("index/1.0.0").manifest.rows == 20
    assert shop("1.0.0", "--force").exit_code == 0
    assert open_version("index/1.0.0").manifest.rows == 1


@pytest.mark.parametrize(
    ("limit", "computed", "unchanged", "by_content"),
    [(700, 20, 0, 0), (1200, 0, 0, 20), (40_000, 0, 20, 0)],
    ids=["codes", "known files", "model"],
)
def test_a_full_disk(shop, limit, computed, unchanged, by_content):
    """A limit on the size of files stands for it, met by one file or another.  What was finished
    before is kept."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        result = shop()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    failed(result, "File too large; nothing was published")
    assert sorted(path.name for path in Path("index").iterdir()) == [".codes", ".lock"]
    assert read_summary(shop().output) == (computed, unchanged, by_content, 0, 0, 0)


# -- real processes, the shipped model -----------------------------------------------------------

CONTRACT = """
python indexer/main.py
    --database database_info.txt
    --model_path torchscripts_models/relahash-medium-64bits.pt
    --device cuda:0
    --new_index_database_version 1.5.0
"""


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory, model_path) -> Path:
    """A folder like a checkout, with 600 pictures, 7 of which cannot be read."""
    folder = tmp_path_factory.mktemp("shop_folder")
    (folder / "indexer").symlink_to(REPOSITORY / "indexer")
    (folder / "torchscripts_models").mkdir()
    for path in (model_path, model_path.with_suffix(".json")):
        shutil.copy(path, folder / "torchscripts_models" / path.name)
    paths = [f"data/{i % 3}.com/{i}_{i % 3}_com.jpg" for i in range(600)]
    for seed, path in enumerate(paths):
        draw(folder / path, seed)
    for i in (0, 99, 300, 301, 402, 500, 599):
        (folder / paths[i]).write_bytes(b"no picture")
    write_list(folder, [*paths, *paths[:4]])
    return folder


def start(folder, words, **options):
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, *words.split()[1:]]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **options)


def run(folder, words):
    process = start(folder, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(shop_folder):
    code, stdout, stderr = run(shop_folder, CONTRACT)
    assert code == 1
    assert stdout == ""
    assert re.fullmatch(r"Error: device 'cuda:0' is not there: .*; use --device cpu\n", stderr)


ON_CPU = CONTRACT.replace("cuda:0", "cpu")


def run_in_a_terminal(folder, words) -> tuple[int, str, str]:
    """As `run`, with stderr a terminal."""
    terminal, end = pty.openpty()
    process = start(folder, words, stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    shown = b""
    while chunk := read_terminal(terminal):
        shown += chunk
    os.close(terminal)
    stdout, _ = process.communicate(timeout=120)
    return process.returncode, stdout, shown.decode()


def read_terminal(terminal) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def parts_of_codes(folder: Path) -> list[Path]:
    found = folder.glob("index/.codes/*/*.npy")
    return [part for part in found if part.parent.name != "files"]


@pytest.mark.slow("hashes 600 pictures twice with the shipped model")
def test_killed_and_started_again(shop_folder):
    """Nothing is hashed twice, and what comes out is what an undisturbed run makes."""
    one_worker = ON_CPU + "--num_workers 1"  # so that it takes its time
    process = start(shop_folder, one_worker, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    with process:
        while not parts_of_codes(shop_folder):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert Index(shop_folder / "index").versions() == []
    kept = sum(len(np.load(part)) for part in parts_of_codes(shop_folder))
    assert 0 < kept < 593

    code, stdout, _ = run(shop_folder, ON_CPU)
    assert code == 0
    computed, unchanged, by_content, *others = read_summary(stdout)
    assert (computed, unchanged + by_content, *others) == (593 - kept, kept, 0, 4, 7)

    undisturbed = ON_CPU + "--dump_index_path undisturbed"
    code, stdout, shown = run_in_a_terminal(shop_folder, undisturbed)
    assert code == 0
    assert read_summary(stdout) == (593, 0, 0, 0, 4, 7)
    assert re.search(r"indexing +\[[#-]+\] +\d+/600 +\d\d:\d\d:\d\d +\d+ images/s", shown)

    one, other = shop_folder / "index/1.5.0", shop_folder / "undisturbed/1.5.0"
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in set(names) - {"manifest.json"}:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (one, other)]
    for manifest in manifests:
        del manifest["created"]
    assert manifests[0] == manifests[1]

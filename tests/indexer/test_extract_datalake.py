"""extract_datalake.sh, run by a real bash over real folders."""

import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashing.formats import FORMATS, SUFFIXES
from indexer.catalogue import read_catalogue
from tests.running import wait_for

SCRIPT = Path(__file__).parents[2] / "indexer" / "extract_datalake.sh"
LIST = "database_info.txt"
ROOT_FILE, LEFT_OUT = f"{LIST}.datalake", f"{LIST}.left_out"


# Root may read and write everything, unless these capabilities are taken from it.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def extract(cwd, *arguments, prefix=(), **options):
    command = [*prefix, "bash", SCRIPT, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, **options)


def can_run(*command):
    return bool(shutil.which(command[0])) and not subprocess.run(command).returncode


def touch(root, *names):
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()


def listed(cwd, name=LIST):
    return os.fsdecode((cwd / name).read_bytes()).split("\n")[:-1]


def fake_tool(cwd, name, script):
    """Put a stand-in for a tool first in PATH."""
    tool = cwd / "tools" / name
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return {**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"}


def test_lists_a_datalake_and_says_counts(tmp_path):
    touch(tmp_path, "data/abc.com/69_abc_com.jpg", "data/abc.com/42_abc_com.jpg")
    touch(tmp_path, "data/xyz.vn/7_xyz_vn.jpg", "data/labels.csv")
    run = extract(tmp_path, "data")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"{LIST}: 3 images in 2 shops (1 other file left out, see {LEFT_OUT})\n"
    assert listed(tmp_path, LEFT_OUT) == ["text\tdata/labels.csv"]
    assert listed(tmp_path, ROOT_FILE) == ["data"]
    assert listed(tmp_path) == [
        "data/abc.com/42_abc_com.jpg",
        "data/abc.com/69_abc_com.jpg",
        "data/xyz.vn/7_xyz_vn.jpg",
    ]


@pytest.mark.parametrize(
    ("given_as", "path"),
    [
        ("data", "data/s/1.jpg"),
        ("data/", "data/s/1.jpg"),
        ("data//", "data/s/1.jpg"),
        ("./data", "./data/s/1.jpg"),
        ("./data/", "./data/s/1.jpg"),
        ("data/s", "data/s/1.jpg"),
        (".", "./data/s/1.jpg"),
        ("data/../data", "data/../data/s/1.jpg"),
    ],
)
def test_spells_paths_as_dir_was_given(tmp_path, given_as, path):
    touch(tmp_path, "data/s/1.jpg")
    assert extract(tmp_path, given_as).returncode == 0
    assert listed(tmp_path) == [path]


def test_absolute_dir_gives_absolute_paths(tmp_path):
    touch(tmp_path, "lake/s/1.jpg")
    (tmp_path / "cwd").mkdir()
    extract(tmp_path / "cwd", f"{tmp_path}/lake/")
    assert listed(tmp_path / "cwd") == [f"{tmp_path}/lake/s/1.jpg"]


@pytest.mark.parametrize("name", ["-data", "!", "(", "-name", "a b", "*", "日本", ".hidden"])
def test_dir_of_any_name(tmp_path, name):
    touch(tmp_path, f"{name}/s/1.jpg")
    run = extract(tmp_path, "--", name)
    assert (run.returncode, run.stderr) == (0, "")
    assert listed(tmp_path) == [f"{name}/s/1.jpg"]


def test_takes_image_suffixes_in_any_case_and_no_others(tmp_path):
    images = ["a.JPG", "b.jfif", "b.jpeg", "c.Png", "d.webp", "e.GIF", "f.bmp", "g.tif", "h.TIFF"]
    others = ["i.csv", "jpg", "j.jpg.txt", "k.svg", "l"]
    touch(tmp_path, *(f"data/s/{name}" for name in images + others))
    (tmp_path / "data/s/folder.jpg").mkdir()
    os.mkfifo(tmp_path / "data/s/pipe.jpg")
    run = extract(tmp_path, "data")
    assert listed(tmp_path) == [f"data/s/{name}" for name in images]
    assert "9 images in 1 shop (6 other files left out, see " in run.stdout


def test_leaves_out_hidden_files_and_folders(tmp_path):
    touch(tmp_path, "data/s/1.jpg", "data/s/._1.jpg", "data/s/.DS_Store", "data/.trash/2.jpg")
    run = extract(tmp_path, "data")
    assert listed(tmp_path) == ["data/s/1.jpg"]
    assert run.stdout == f"{LIST}: 1 image in 1 shop\n"


def encode(path, format, **options):
    pillow_heif.register_heif_opener()  # that it can be written
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((64, 48), 50).convert("RGB").save(path, format, **options)


@pytest.mark.parametrize(
    "format", [*(name for name in FORMATS if name != "TIFF"), "JPEG2000 codestream"]
)
@pytest.mark.parametrize("name", ["69_abc_com", "69.jpg?v=12", "69.img", ".dot"])
def test_files_without_a_known_suffix_are_known_by_their_content(tmp_path, format, name):
    encode(tmp_path / "data/s" / name, *format.split()[:1], no_jp2=" " in format)
    touch(tmp_path, "data/s/other.jpg")
    extract(tmp_path, "data")
    found = [f"data/s/{name}"] if name != ".dot" else []
    assert listed(tmp_path) == sorted([*found, "data/s/other.jpg"])
    assert not (tmp_path / LEFT_OUT).exists()


def test_what_is_left_out_is_named_with_the_reason(tmp_path):
    touch(tmp_path, "data/s/1.jpg", "data/s/empty", "data/s/a\nb.jpg")
    files = {
        "film.mp4": b"\0\0\0\x20ftypisom\0\0\2\0", "sound.wav": b"RIFF\x24\1\0\0WAVEfmt ",
        "layers.psd": b"8BPS\0\1\0\0", "note.txt": b"BMW and RIFF", "raw.cr2": b"II*\0\x10\0\0\0CR",
        "BM": b"BM is no picture", "ones": b"\1" * 40, "tail": b"\xff\xd8\xff",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / "data/s" / name).write_bytes(data)
    (tmp_path / "data/s/gone.jpg").symlink_to("nowhere")
    (tmp_path / "data/s/up").symlink_to("..")
    assert extract(tmp_path, "data").returncode == 0
    assert listed(tmp_path) == ["data/s/1.jpg", "data/s/tail"]
    named = [line.split("\t") for line in listed(tmp_path, LEFT_OUT)]
    reasons = {path.removeprefix("data/s/").split("'")[0]: reason for reason, path in named}
    assert reasons.pop("a?b.jpg") == "line break"
    assert reasons.pop("gone.jpg") == "broken link"
    assert reasons.pop("find: File system loop detected; ", "circular link") == "circular link"
    texts = {name for name, reason in reasons.items() if reason == "text"}
    assert texts == {"empty", "note.txt", "BM"}
    assert {name for name, reason in reasons.items() if reason == "no image"} == {
        "film.mp4", "sound.wav", "layers.psd", "raw.cr2", "ones",
    }  # fmt: skip
    for name in [*files, "gone.jpg", "up", "empty", "a\nb.jpg"]:
        if name != "tail":
            (tmp_path / "data/s" / name).unlink()
    assert extract(tmp_path, "data").returncode == 0
    assert not (tmp_path / LEFT_OUT).exists()  # that of before is gone


def test_folders_that_are_no_shops_are_passed_over_at_any_depth(tmp_path):
    names = ["@eaDir", "#recycle", ".Trash-1000", "$RECYCLE.BIN", "$Recycle.Bin", ".thumbnails"]
    names += ["System Volume Information", "__MACOSX", "lost+found", "@Recycle"]
    for name in names:
        touch(tmp_path, f"data/{name}/1.jpg", f"data/s/{name}/s/1.jpg")
    touch(tmp_path, "data/s/1.jpg", "data/s/Thumbs.db", "data/recycle/1.jpg")
    run = extract(tmp_path, "data")
    assert listed(tmp_path) == ["data/recycle/1.jpg", "data/s/1.jpg"]
    assert run.stdout == f"{LIST}: 2 images in 2 shops\n"


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["old"], "a/1.jpg a/2.png b/new/1.jpg b/old.jpg"),
        (["*.png"], "a/1.jpg a/old/1.jpg b/new/1.jpg b/old.jpg"),
        (["old*"], "a/1.jpg a/2.png b/new/1.jpg"),
        (["b/*"], "a/1.jpg a/2.png a/old/1.jpg"),
        (["/a/old/", "new"], "a/1.jpg a/2.png b/old.jpg"),
        (["data", "1"], "a/1.jpg a/2.png a/old/1.jpg b/new/1.jpg b/old.jpg"),
    ],
)
def test_exclude_names_files_and_folders(tmp_path, patterns, left):
    folder = "d[a]*ta"
    names = ["a/1.jpg", "a/2.png", "a/old/1.jpg", "b/new/1.jpg", "b/old.jpg"]
    touch(tmp_path, *(f"{folder}/{name}" for name in names))
    options = [word for pattern in patterns for word in ("--exclude", pattern)]
    run = extract(tmp_path, *options, folder)
    assert (run.returncode, run.stderr) == (0, "")
    assert listed(tmp_path) == [f"{folder}/{name}" for name in left.split()]
    assert not (tmp_path / LEFT_OUT).exists()


def test_a_shop_is_the_first_folder_below_the_datalake(tmp_path):
    touch(
        tmp_path, "data/abc.com/dresses/1.jpg", "data/abc.com/2.jpg", "data/xyz.com/dresses/1.jpg"
    )
    assert "3 images in 2 shops" in extract(tmp_path, "./data/").stdout
    assert listed(tmp_path, ROOT_FILE) == ["./data"]
    assert "2 images in 2 shops" in extract(tmp_path, "data/abc.com").stdout
    assert "1 image in 1 shop" in extract(tmp_path, f"{tmp_path}/data/abc.com/dresses").stdout
    assert listed(tmp_path, ROOT_FILE) == [f"{tmp_path}/data/abc.com/dresses"]


def test_sorts_by_bytes_whatever_the_locale(tmp_path):
    names = ["B.jpg", "a b.jpg", "a.jpg", "a_b.jpg", "b.jpg", "é.jpg", "日.jpg"]
    touch(tmp_path, *(f"data/s/{name}" for name in names))
    extract(tmp_path, "data", env={**os.environ, "LC_ALL": "en_US.UTF-8"})
    assert listed(tmp_path) == [f"data/s/{name}" for name in sorted(names, key=os.fsencode)]


def test_follows_links_to_files_and_folders(tmp_path):
    touch(tmp_path, "data/s/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "data/s/twin.jpg").symlink_to("1.jpg")
    (tmp_path / "data/linked").symlink_to("../elsewhere")
    (tmp_path / "lake").symlink_to("data")
    assert extract(tmp_path, "lake").returncode == 0
    assert listed(tmp_path) == ["lake/linked/2.jpg", "lake/s/1.jpg", "lake/s/twin.jpg"]


def test_warns_of_circular_and_broken_links_and_goes_on(tmp_path):
    touch(tmp_path, "data/s/1.jpg")
    (tmp_path / "data/s/up").symlink_to("..")
    (tmp_path / "data/s/self.jpg").symlink_to("self.jpg")
    (tmp_path / "data/gone.jpg").symlink_to("nowhere")
    run = extract(tmp_path, "data")
    assert run.returncode == 0
    assert listed(tmp_path) == ["data/s/1.jpg"]
    assert "left out 2 circular links (" in run.stderr
    assert "left out 1 broken link," in run.stderr
    assert "unreadable" not in run.stderr


def test_leaves_out_names_with_a_line_break(tmp_path):
    touch(tmp_path, "data/s/1.jpg", "data/s/a\nb.jpg", "data/s/c\r.jpg", "data/t\nu/2.jpg")
    run = extract(tmp_path, "data")
    assert run.returncode == 0
    assert listed(tmp_path) == ["data/s/1.jpg"]
    assert "left out 3 images with a line break" in run.stderr


file_name = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0\n\r"), max_size=40).map(
        os.fsencode
    ),
    st.binary(max_size=40).map(lambda name: name.translate(None, b"/\0\n\r")),
).filter(lambda name: not name.startswith(b"."))
image_path = st.builds(
    lambda folders, stem: b"/".join([*filter(None, folders), stem + b".jpg"]),
    st.lists(file_name, max_size=3),
    file_name.filter(len),
)


@settings(max_examples=40)
@given(st.sets(image_path, min_size=1, max_size=8))
def test_any_names_come_back_from_the_catalogue(images):
    # A folder and a file cannot share a name; a stem may equal the name of a folder.
    images = {image for image in images if not any(i.startswith(image + b"/") for i in images)}
    with tempfile.TemporaryDirectory() as folder:
        touch(folder, *(b"data/" + image for image in images))
        run = extract(folder, "data")
        assert (run.returncode, run.stderr) == (0, "")
        catalogue = read_catalogue(Path(folder, LIST), Path(folder))
        (paths,) = catalogue.paths.pieces()
        assert paths == sorted(b"data/" + image for image in images)


def test_replaces_the_old_list_and_leaves_nothing_else(tmp_path):
    touch(tmp_path, "data/s/1.jpg")
    (tmp_path / LIST).write_text("old\n")
    extract(tmp_path, "data")
    assert listed(tmp_path) == ["data/s/1.jpg"]
    assert sorted(os.listdir(tmp_path)) == ["data", LIST, ROOT_FILE]


def test_list_has_the_rights_of_any_new_file(tmp_path):
    touch(tmp_path, "data/s/1.jpg")
    extract(tmp_path, "data", umask=0o027)
    assert (tmp_path / LIST).stat().st_mode & 0o777 == 0o640


def test_output_option(tmp_path):
    touch(tmp_path, "data/s/1.jpg", "lists/other")
    run = extract(tmp_path, "data", "-o", "lists/my list.txt")
    assert run.stdout == "lists/my list.txt: 1 image in 1 shop\n"
    assert listed(tmp_path / "lists", "my list.txt") == ["data/s/1.jpg"]
    assert not (tmp_path / LIST).exists()


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_teaches_by_example(tmp_path, option):
    run = extract(tmp_path, option)
    assert (run.returncode, run.stderr) == (0, "")
    assert "$ bash indexer/extract_datalake.sh data\n" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "DIR is missing"),
        ([""], 2, "DIR is empty"),
        (["data", "more"], 2, "one DIR is wanted"),
        (["--nope", "data"], 2, "no option '--nope'"),
        (["data", "-o"], 2, "-o needs the name"),
        (["data", "--exclude"], 2, "--exclude needs the name"),
        (["data", "--exclude", "/"], 2, "--exclude needs the name"),
        (["missing"], 1, "no folder 'missing'"),
        (["data/file.txt"], 1, "is not a folder"),
        (["data"], 1, "no image in 'data'"),
        (["data", "-o", "data"], 1, "'data' is a folder"),
        (["data", "-o", "/dev/null"], 1, "not a regular file"),
        (["data", "-o", "no/such/list"], 1, "cannot write into './no/such/'"),
        (["bad\nname"], 1, "line break in its name"),
    ],
)
def test_errors_are_one_sentence_and_keep_the_old_list(tmp_path, arguments, code, sentence):
    touch(tmp_path, "data/file.txt", "bad\nname/1.jpg")
    (tmp_path / LIST).write_text("old\n")
    run = extract(tmp_path, *arguments)
    assert (run.returncode, run.stdout) == (code, "")
    assert sentence in run.stderr
    assert run.stderr.startswith("extract_datalake.sh: ")
    assert run.stderr.count("extract_datalake.sh: ") == 1
    assert listed(tmp_path) == ["old"]
    assert sorted(os.listdir(tmp_path)) == ["bad\nname", "data", LIST]


def test_full_disk_keeps_the_old_list(tmp_path):
    touch(tmp_path, *(f"data/s/{i:060}.jpg" for i in range(100)))
    (tmp_path / LIST).write_text("old\n")
    run = extract(
        tmp_path,
        "data",
        # A limit on file size stands in for the full disk: the write fails with EFBIG, for Python
        # ignores SIGXFSZ and the children inherit that.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
        restore_signals=False,
    )
    assert run.returncode == 1
    assert f"cannot write '{LIST}'" in run.stderr
    assert listed(tmp_path) == ["old"]
    assert sorted(os.listdir(tmp_path)) == ["data", LIST]


@pytest.mark.parametrize(
    "broken_find",
    [
        "kill -9 $$",
        "exit 1",
        "echo 'find: cannot fork: Resource temporarily unavailable' >&2; exit 1",
    ],
)
def test_a_search_cut_short_writes_no_list(tmp_path, broken_find):
    touch(tmp_path, "data/s/1.jpg")
    env = fake_tool(tmp_path, "find", f"echo data/s/1.jpg; {broken_find}")
    run = extract(tmp_path, "data", env=env)
    assert run.returncode == 1
    assert "stopped early" in run.stderr
    assert not (tmp_path / LIST).exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_cleans_up_when_stopped(tmp_path, sent, code):
    touch(tmp_path, "data/s/1.jpg")
    env = fake_tool(tmp_path, "find", '[ "$1" = --help ] || { touch started; exec sleep 300; }')
    # The signal goes to the whole group, as from Ctrl-C in a terminal.
    process = subprocess.Popen(
        ["bash", SCRIPT, "data"], cwd=tmp_path, env=env, start_new_session=True
    )
    wait_for((tmp_path / "started").exists)
    os.killpg(process.pid, sent)
    assert process.wait(timeout=60) == code
    assert sorted(os.listdir(tmp_path)) == ["data", "started", "tools"]


@pytest.mark.skipif(
    not can_run(*AS_USER, "true"),
    reason="root cannot give up its rights here",
)
class TestRights:
    def test_unreadable_folders_are_warned_of(self, tmp_path):
        touch(tmp_path, "data/s/1.jpg", "data/closed/2.jpg")
        (tmp_path / "data/closed").chmod(0)
        run = extract(tmp_path, "data", prefix=AS_USER)
        (tmp_path / "data/closed").chmod(0o700)
        assert run.returncode == 0
        assert listed(tmp_path) == ["data/s/1.jpg"]
        assert "left out 1 unreadable path (" in run.stderr
        assert listed(tmp_path, LEFT_OUT)[0].startswith("unreadable\tfind: ")

    def test_a_file_that_is_to_be_known_by_its_content_must_be_readable(self, tmp_path):
        touch(tmp_path, "data/s/1.jpg", "data/s/2")
        (tmp_path / "data/s/2").chmod(0)
        run = extract(tmp_path, "data", prefix=AS_USER)
        assert "left out 1 unreadable path (data/s/2)" in run.stderr
        assert listed(tmp_path, LEFT_OUT) == ["unreadable\tdata/s/2"]

    def test_unreadable_dir(self, tmp_path):
        touch(tmp_path, "data/s/1.jpg")
        (tmp_path / "data").chmod(0)
        run = extract(tmp_path, "data", prefix=AS_USER)
        (tmp_path / "data").chmod(0o700)
        assert run.returncode == 1
        assert "'data' cannot be read" in run.stderr

    def test_current_folder_not_writable(self, tmp_path):
        touch(tmp_path, "data/s/1.jpg")
        tmp_path.chmod(0o500)
        run = extract(tmp_path, "data", prefix=AS_USER)
        tmp_path.chmod(0o700)
        assert run.returncode == 1
        assert "cannot write into './'" in run.stderr


@pytest.mark.skipif(not can_run("busybox", "true"), reason="busybox is not installed")
class TestBusybox:
    @pytest.fixture
    def env(self, tmp_path):
        for tool in ("find", "sort", "cut", "sed", "grep", "head", "mktemp", "mv", "rm"):
            env = fake_tool(tmp_path, tool, f'exec busybox {tool} "$@"')
        return env

    def test_same_list(self, tmp_path, env):
        touch(tmp_path, "data/s t/1.JPG", "data/s t/é.png", b"data/\xff.jpg", "data/a\nb.jpg")
        touch(tmp_path, "data/.hidden/2.jpg", "data/labels.csv")
        (tmp_path / "data/gone.jpg").symlink_to("nowhere")
        run = extract(tmp_path, "data", env=env)
        assert (
            run.stdout == f"{LIST}: 3 images in 2 shops (1 other file left out, see {LEFT_OUT})\n"
        )
        assert listed(tmp_path) == ["data/s t/1.JPG", "data/s t/é.png", "data/\udcff.jpg"]
        assert "1 broken link," in run.stderr

    def test_refuses_links_to_folders_which_it_might_follow_for_ever(self, tmp_path, env):
        touch(tmp_path, "data/s/1.jpg")
        (tmp_path / "data/s/up").symlink_to("..")
        run = extract(tmp_path, "data", env=env)
        assert run.returncode == 1
        assert "data/s/up" in run.stderr
        assert not (tmp_path / LIST).exists()


def test_twenty_thousand_images_in_thousands_of_shops_take_seconds(tmp_path):
    for shop in range(2000):
        folder = tmp_path / "data" / f"{shop}.com"
        folder.mkdir(parents=True)
        for image in range(10):
            (folder / f"{image}_{shop}_com.jpg").touch()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = extract(tmp_path, "data")
    assert run.stdout == f"{LIST}: 20000 images in 2000 shops\n"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A process per file would take more than 20 s of a core.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10


def test_it_lists_and_names_every_suffix_that_is_decoded(tmp_path):
    touch(tmp_path, *(f"data/abc.com/{suffix[1:]}{suffix}" for suffix in SUFFIXES))
    assert extract(tmp_path, "data").returncode == 0
    assert len(listed(tmp_path)) == len(SUFFIXES)
    shown = extract(tmp_path, "--help").stdout
    named = re.search(r"Images end in (.*?),\sin any case", shown)[1]
    assert named.split() == list(SUFFIXES)


def test_the_suffixes_are_those_of_the_formats():
    pillow_heif.register_heif_opener()
    opened = Image.registered_extensions()
    assert {opened[suffix] for suffix in SUFFIXES} == set(FORMATS)

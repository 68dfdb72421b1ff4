"""The index folder: which versions there are, which one is live, and one process at a time."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from searcher import open_version
from searcher.index import Index, Locked
from searcher.version import VersionError
from tests.searcher.folder import entries

# Root may read and write everything, unless these capabilities are taken from it.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def test_versions_are_listed_by_number(tmp_path, publish_version):
    for version in ("1.10.0", "1.9.0", "0.20.0"):
        publish_version(tmp_path, version)
    for other in ("1.0.0", "notes", ".new-3.0.0"):
        (tmp_path / other).mkdir()  # no version: no manifest, or no number
    assert Index(tmp_path).versions() == ["0.20.0", "1.9.0", "1.10.0"]


def test_no_folder_no_versions(tmp_path):
    assert Index(tmp_path / "index").versions() == []
    assert Index(tmp_path / "index").live() is None


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "index").write_text("")
    assert Index(tmp_path / "index").versions() == []
    assert Index(tmp_path / "index").live() is None


# -- activating ----------------------------------------------------------------------------------


def test_activate_names_the_version_in_current(root):
    assert Index(root).live() == "1.0.0"
    assert Index(root).activate("1.1.0") == "1.0.0"
    assert (root / "CURRENT").read_bytes() == b"1.1.0\n"
    assert Index(root).activate("1.0.0") == "1.1.0"  # and back
    assert entries(root) == [".before", ".lock", "1.0.0", "1.1.0", "CURRENT"]


def test_activate_again_can_be_noticed(root):
    os.utime(root / "CURRENT", ns=(0, 0))
    before = Index(root).activation()
    Index(root).activate("1.0.0")
    assert Index(root).activation()[0] == before[0]
    assert Index(root).activation() != before


def test_nothing_was_live_before_the_first(publish_version, tmp_path):
    publish_version(tmp_path)
    assert Index(tmp_path).activate("1.0.0") is None


def test_what_does_not_exist_is_not_activated(root):
    with pytest.raises(VersionError, match=r"no version 3\.0\.0 .* exist: 1\.0\.0, 1\.1\.0"):
        Index(root).activate("3.0.0")
    assert Index(root).live() == "1.0.0"


def test_current_that_is_no_text_does_no_harm(root):
    (root / "CURRENT").write_bytes(b"\xff\xfe\0")
    assert Index(root).live() not in Index(root).versions()
    Index(root).activate("1.1.0")
    assert Index(root).live() == "1.1.0"


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_activating_fails_whole(root, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            Index(root).activate("1.1.0")
    assert Index(root).live() == "1.0.0"
    Index(root).activate("1.1.0")
    assert Index(root).live() == "1.1.0"


# -- the folder ----------------------------------------------------------------------------------


def building_is_refused(root, words):
    with pytest.raises(VersionError, match=words), Index(root).writing():
        pass


def test_one_process_at_a_time(root):
    script = (
        "import sys; from pathlib import Path; from searcher.index import Index\n"
        "with Index(Path(sys.argv[1])).writing(): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as other:
        assert other.stdout.readline() == b"in\n"
        building_is_refused(root, r"another process is building a version in .*index; wait")
        Index(root).activate("1.1.0")  # goes on meanwhile
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    with Index(root).writing():  # the lock ended with the process
        pass


def test_one_thread_at_a_time(root):
    with Index(root).writing():
        building_is_refused(root, "another process is building")


HOLDING = """
import sys
from pathlib import Path
from searcher import open_version
from searcher.index import Index, Locked
with Index(Path(sys.argv[1])).holding("1.1.0"):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_a_version_that_another_process_holds_stays_until_that_process_ends(root, publish_version):
    """As `efiss check 1.1.0` and `efiss activate 1.1.0` hold it, in a container or out of one."""
    command = [sys.executable, "-c", HOLDING, root]
    held = r"version 1\.1\.0 is being checked or activated; wait until it has ended"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as other:
        assert other.stdout.readline() == b"in\n"
        with Index(root).holding("1.1.0"), Index(root).holding("1.0.0"):
            pass  # with others
        for replace_or_remove in (
            lambda: publish_version(root, "1.1.0", replace=True),
            lambda: Index(root).remove("1.1.0"),
        ):
            with pytest.raises(Locked, match=held):
                replace_or_remove()
        with pytest.raises(VersionError, match=r"1\.1\.0 exists in .*; choose a new number"):
            Index(root).check_new("1.1.0")
        assert open_version(root / "1.1.0").manifest.rows == 10
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    publish_version(root, "1.1.0", replace=True)
    assert open_version(root / "1.1.0").manifest.rows == 3


def test_a_version_that_is_replaced_is_not_held(root):
    changing = r"version 1\.1\.0 is being replaced or removed"
    with Index(root).giving_up("1.1.0", "replaced"), pytest.raises(Locked, match=changing):
        Index(root).activate("1.1.0")
    assert Index(root).live() == "1.0.0"


@pytest.mark.parametrize("has_another", [True, False])
def test_a_version_that_goes_before_it_is_held_is_not_held(root, monkeypatch, has_another):
    """Replaced or removed between a look at its name and the lock."""

    def too_late(file, kind):
        os.rename(root / "1.1.0", root / ".old-1.1.0")
        if has_another:
            shutil.copytree(root / "1.0.0", root / "1.1.0")

    monkeypatch.setattr(fcntl, "flock", too_late)
    with (
        pytest.raises(Locked, match=r"version 1\.1\.0 is being replaced or removed"),
        Index(root).holding("1.1.0"),
    ):
        pass


def test_a_file_cannot_be_written_into(tmp_path):
    (tmp_path / "index").touch()
    building_is_refused(tmp_path / "index", "index cannot be written: File exists")


def run_as_user(script, *arguments, **options):
    return subprocess.run(
        [*AS_USER, sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def can_be_a_user():
    return not AS_USER or (
        shutil.which(AS_USER[0]) and subprocess.run([*AS_USER, "true"]).returncode == 0
    )


@pytest.mark.skipif(not can_be_a_user(), reason="root here cannot give up its rights")
def test_a_read_only_folder(root):
    script = (
        "import sys; from pathlib import Path; from searcher.index import Index\n"
        "from searcher.version import VersionError, verify\n"
        "root = Path(sys.argv[1])\n"
        "print(verify(root / '1.0.0'))\n"
        "for use in (lambda: Index(root).writing().__enter__(),\n"
        "            lambda: Index(root).activate('1.1.0')):\n"
        "    try: use()\n"
        "    except (VersionError, OSError) as error: print(error)\n"
    )
    (root / ".lock").unlink()
    os.chmod(root, 0o555)
    run = run_as_user(script, root)
    os.chmod(root, 0o755)
    verified, writing, activating = run.stdout.splitlines()
    assert verified == "[]"
    assert writing == f"{root} cannot be written: Permission denied"
    assert "Permission denied" in activating
    assert Index(root).live() == "1.0.0"

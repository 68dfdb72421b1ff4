"""An index folder that is published once and copied for every test."""

import subprocess
from pathlib import Path

import pytest

from searcher.index import Index
from tests.searcher.folder import CODES, OTHER_CODES


@pytest.fixture(scope="session")
def published(publish_version, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("published") / "index"
    publish_version(root, "1.0.0", codes=CODES)
    publish_version(root, "1.1.0", codes=OTHER_CODES)
    Index(root).activate("1.0.0")
    return root


@pytest.fixture
def root(published, tmp_path) -> Path:
    """An index folder with 1.0.0 live and 1.1.0 beside it."""
    root = tmp_path / "index"
    subprocess.run(["cp", "--archive", published, root], check=True)  # files of both stay one
    return root

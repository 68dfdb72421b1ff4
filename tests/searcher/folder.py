"""An index folder as the tests of it begin with, and a look into it."""

import hashlib
import json

import numpy as np

FILES = {
    "index.bin",
    "paths.bin",
    "paths.offsets.npy",
    "paths.hashes.npy",
    "paths.rows.npy",
    "shops.json",
    "shops.npy",
    "shops.rows.npy",
    "shops.starts.npy",
    "products.npy",
    "model.pt",
    "model.json",
    "rejected.csv",
    "manifest.json",
}
CODES = np.arange(80, dtype=np.uint8).reshape(10, 8)
OTHER_CODES = CODES + 100


def entries(root):
    return sorted(path.name for path in root.iterdir())


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def describe(folder):
    """A file's entry in the manifest, for all files: as if they had been published like this."""
    return {
        name: {
            "bytes": (folder / name).stat().st_size,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        }
        for name in entries(folder)
        if name != "manifest.json"
    }

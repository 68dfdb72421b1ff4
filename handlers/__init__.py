"""What runs inside TorchServe's worker, and is packed into the archive for it."""

MODEL_NAME, MODEL_VERSION = "image-retrieval-v1.0", "1.0"

PACKED_VERSION = "version"
"""Folder in the archive that holds the version packed into it."""

"""TorchServe's side of the service: the handler, its archive, and the server that runs it."""

MODEL_NAME, MODEL_VERSION = "image-retrieval-v1.0", "1.0"

PACKED_VERSION = "version"
"""Folder in the archive that holds the version packed into it."""

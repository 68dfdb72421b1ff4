"""What runs inside TorchServe's worker, and is packed into the archive for it."""

MODEL_NAME, MODEL_VERSION = "image-retrieval-v1.0", "1.0"

PACKED_VERSION = "version"
"""Folder in the archive that holds the version packed into it."""

HOW_TO_SEND = (
    "send the photo itself (curl -T photo.jpg "
    f"'http://HOST:5000/predictions/{MODEL_NAME}?top_k=10') or one JSON object with Content-Type: "
    f"application/json (curl -T request.json http://HOST:5000/predictions/{MODEL_NAME}); either "
    "may be a part named image or data of multipart/form-data"
)
"""The end of a sentence to whoever sent something else."""

QUERY_HEADER = "x-efiss-query"
"""Header of a request, with what stands behind the ? of its address: TorchServe hands that to no
worker, so whoever passes a request on to it writes it there."""

WATCH_HEADER = "efiss-watch"
"""Of a request by which a service looks whether it answers: nobody's, so it is not counted."""

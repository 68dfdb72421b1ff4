"""Requests as TorchServe hands them over, for tests."""

import json


def sent(fields: dict) -> dict[str, bytearray]:
    """A JSON body."""
    return {"body": bytearray(json.dumps(fields).encode())}

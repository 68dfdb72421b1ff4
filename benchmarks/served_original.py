"""TorchServe's handler with the original's steps: decodes a photo whole, resizes it, and runs the
TorchScript file over the batch.  Packed and started by `served.py`."""

import base64
import io
import json
from pathlib import Path

import faiss
import numpy as np
import torch
from PIL import Image


class OriginalHandler:
    """Answers JSON with an image by the paths' numbers and distances."""

    def initialize(self, context) -> None:
        folder = Path(context.system_properties["model_dir"])
        sidecar = json.loads((folder / "original.json").read_text())
        self._size = sidecar["input_size"]
        self._mean, self._scale = (np.array(sidecar[of], np.float32) for of in ("mean", "std"))
        self._model = torch.jit.load(folder / "original.pt").eval()
        self._index = faiss.read_index_binary(str(folder / "original.bin"))

    def handle(self, batch: list[dict], context) -> list[dict]:
        inputs = np.stack([self._input(base64.b64decode(row["body"]["image"])) for row in batch])
        with torch.inference_mode():
            outputs = self._model(torch.from_numpy(inputs))
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        codes = np.packbits(outputs[:, :64].numpy() > 0, axis=1)
        distances, rows = self._index.search(codes, 10)
        return [
            {"relevant": own.tolist(), "distances": far.tolist()}
            for own, far in zip(rows, distances, strict=True)
        ]

    def _input(self, photo: bytes) -> np.ndarray:
        """float32 [3, size, size]."""
        with Image.open(io.BytesIO(photo)) as image:
            small = image.convert("RGB").resize((self._size, self._size), Image.Resampling.BILINEAR)
        values = np.asarray(small, np.float32) / 255
        return ((values - self._mean) / self._scale).transpose(2, 0, 1)

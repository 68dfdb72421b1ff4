"""A hashing model on a device: model input -> real-valued outputs -> 64-bit codes.

A model is two files side by side: `NAME.pt`, the TorchScript program, and `NAME.json`, the sidecar
that says all that is needed to use it (`Sidecar`).
"""

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hashing import codes, nearness, picture
from hashing.engine import Engine, Program, TorchScript, engine_of, normalised
from hashing.framing import Frame
from hashing.nearness import Nearness
from machine import shipped
from machine.errors import Problem
from machine.processes import give_memory_back


class ModelError(Problem):
    """The model cannot be used; the message names the file and says what to do."""


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """What the JSON beside a model says."""

    name: str
    sha256: str
    """Of the .pt file, in hex."""
    bits: int
    """Of the code."""
    input_size: int
    """Side of the square model input in pixels."""
    resampling: str
    """One of `picture.RESAMPLINGS`."""
    mean: tuple[float, float, float]
    """Per channel (R, G, B), of pixels scaled to 0-1: the network sees (pixel - mean) / std."""
    std: tuple[float, float, float]
    training_data: str = ""
    """In words, for people."""
    framing: str = "squash"
    """One of `picture.FRAMINGS`: how a picture becomes a square."""
    fine_bits: int = 0
    """Of the longer code, whose outputs follow the first 64: 0 or 256."""
    rank_weight: float = 1.0
    """How often the similarity of the 64-bit code counts beside that of the longer one
    (`codes.fine_similarity`)."""
    match: Nearness | None = None
    """What its distances and similarities mean; None where nobody measured it."""

    @property
    def outputs(self) -> int:
        """How many outputs the model gives, those of the longer code with them."""
        return self.bits + self.fine_bits

    def pixels(self, data: bytes, max_pixels: int = picture.MAX_PIXELS) -> np.ndarray:
        """Model input of one encoded picture: uint8 [input_size, input_size, 3].
        Raises picture.PictureError."""
        view = self.read(data, None, max_pixels)
        return self.pixels_of(view.image, view.frame)

    def read(
        self, data: bytes, box: picture.Box | None, max_pixels: int = picture.MAX_PIXELS
    ) -> picture.View:
        """The picture in `data`, or its part in `box`, decoded as large as this model needs it.
        Raises picture.PictureError."""
        return picture.read(data, self.input_size, self.framing, box, max_pixels)

    def pixels_of(self, image: Image.Image, framed: Frame | None = None) -> np.ndarray:
        """Model input of one decoded RGB picture: uint8 [input_size, input_size, 3].

        framed: the picture's frame, where it is known."""
        return picture.pixels(image, self.input_size, self.resampling, self.framing, framed)

    def to_json(self) -> str:
        """As the file says it.  What has come later is left out where it is as before, so that an
        older model's sidecar stays what it was."""
        values = dataclasses.asdict(self)
        for name in ("framing", "fine_bits", "rank_weight", "match"):
            if getattr(self, name) == getattr(Sidecar, name):
                del values[name]
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def find_model(path: str | Path) -> Path:
    """The .pt file that `path` means: itself, or the only one in the folder (`name/001/`); where
    there is nothing, the shipped model of this path."""
    path = shipped.found(Path(path))
    if path.is_file():
        return path
    if not path.is_dir():
        raise ModelError(f"{path}: no such model; give a .pt file or a folder that holds one")
    found = sorted(path.glob("*.pt"))
    if len(found) != 1:
        count = "no .pt file" if not found else f"{len(found)} .pt files"
        raise ModelError(f"{path}: {count} in this folder; give the .pt file itself")
    return found[0]


def read_sidecar(model_path: Path) -> Sidecar:
    """The sidecar beside a .pt file, checked field by field (not yet against the .pt itself)."""
    path = model_path.with_suffix(".json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing: a model needs its sidecar beside it; `efiss export` writes both"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} must hold a JSON object with the fields of a sidecar")
    known = {
        field.name: values[field.name]
        for field in dataclasses.fields(Sidecar)
        if field.name in values
    }
    try:
        sidecar = Sidecar(**known)
    except TypeError as error:
        missing = str(error).split("argument", 1)[-1].lstrip("s: ")
        raise ModelError(f"{path} lacks {missing}; write the sidecar with `efiss export`") from None
    _check_sidecar(path, sidecar)
    colours: dict = {"mean": tuple(sidecar.mean), "std": tuple(sidecar.std)}
    return dataclasses.replace(sidecar, match=_match(path, sidecar.match), **colours)


def _match(path: Path, value: object) -> Nearness | None:
    try:
        return None if value is None else nearness.from_json(value)
    except ValueError as error:
        raise ModelError(f"{path}: match: {error}") from None


def _check_sidecar(path: Path, sidecar: Sidecar) -> None:
    def require(holds: bool, sentence: str) -> None:
        if not holds:
            raise ModelError(f"{path}: {sentence}")

    def is_triple(value) -> bool:
        return (
            isinstance(value, list | tuple)
            and len(value) == 3
            and all(isinstance(v, int | float) for v in value)
        )

    require(isinstance(sidecar.name, str), f"name must be a text, not {sidecar.name!r}")
    require(
        sidecar.bits == codes.CODE_BITS,
        f"bits is {sidecar.bits!r}, this service uses {codes.CODE_BITS}-bit codes",
    )
    require(
        type(sidecar.input_size) is int and 8 <= sidecar.input_size <= 2048,
        f"input_size must be a whole number from 8 to 2048, not {sidecar.input_size!r}",
    )
    require(
        sidecar.resampling in list(picture.RESAMPLINGS),
        f"resampling must be one of {', '.join(picture.RESAMPLINGS)}, not {sidecar.resampling!r}",
    )
    require(
        sidecar.framing in picture.FRAMINGS,
        f"framing must be one of {', '.join(picture.FRAMINGS)}, not {sidecar.framing!r}",
    )
    require(
        type(sidecar.fine_bits) is int and sidecar.fine_bits in (0, codes.FINE_BITS),
        f"fine_bits must be 0 or {codes.FINE_BITS}, not {sidecar.fine_bits!r}",
    )
    require(
        type(sidecar.rank_weight) in (int, float) and 0 <= sidecar.rank_weight <= 1000,
        f"rank_weight must be a number from 0 to 1000, not {sidecar.rank_weight!r}",
    )
    require(is_triple(sidecar.mean), "mean must be three numbers")
    require(is_triple(sidecar.std) and all(sidecar.std), "std must be three numbers other than 0")
    require(
        isinstance(sidecar.sha256, str) and len(sidecar.sha256) == 64,
        "sha256 must be the .pt file's digest, 64 hex digits",
    )


class Model:
    """A hashing model, ready to use; safe to call from several threads."""

    def __init__(
        self, sidecar: Sidecar, device: torch.device, engine: Engine, shows_embeddings: bool
    ):
        self.sidecar = sidecar
        self.device = device
        self.engine = engine
        """What runs the network."""
        self.shows_embeddings = shows_embeddings
        """Whether the program is hash(backbone(inputs)), as `efiss export` writes it."""

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu", threads: int = 1) -> "Model":
        """Open `path` (a .pt file with its sidecar beside it, or a folder that holds them).

        device: `cpu` or `cuda:N`.  threads: how many will call it at the same time; with more than
        one, a process that is forked later cannot use it.
        The digest of the file and the number of its outputs are checked against the sidecar.
        Raises ModelError, or EngineError where EFISS_ENGINE names an engine that cannot run it.
        """
        path = find_model(path)
        sidecar = read_sidecar(path)
        return cls.from_program(path.read_bytes(), sidecar, device, path, threads)

    @classmethod
    def from_program(
        cls,
        program: bytes,
        sidecar: Sidecar,
        device: str,
        path: Path = Path("the model"),
        threads: int = 1,
    ) -> "Model":
        """Open the bytes of a .pt file, where its file is not at hand; otherwise as `load`.

        path: for messages.
        """
        where = _device(device)
        digest = hashlib.sha256(program).hexdigest()
        if digest != sidecar.sha256:
            raise ModelError(
                f"{path}: sha256 is {digest[:12]}…, its sidecar says {sidecar.sha256[:12]}…: "
                "the files do not belong together or one is damaged; copy both again"
            )
        # Full float32: TF32 on a GPU would flip bits that the CPU does not.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        try:
            module = torch.jit.load(io.BytesIO(program), map_location=where).eval()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{path} is not a TorchScript model: {reason}") from error
        parts = _parts(module, sidecar.input_size, where)
        shows_embeddings = len(parts) == 2
        runs = Program(parts, sidecar.input_size, sidecar.mean, sidecar.std)
        script = _checked(runs, sidecar, where, path)
        engine = engine_of(runs, script, threads) if where.type == "cpu" else script
        del module, parts, runs, script
        give_memory_back()  # 60 MB of a worker: the weights were there several times
        return cls(sidecar, where, engine, shows_embeddings)

    def pixels(self, data: bytes, max_pixels: int = picture.MAX_PIXELS) -> np.ndarray:
        """Model input of one encoded picture, as `Sidecar.pixels` makes it."""
        return self.sidecar.pixels(data, max_pixels)

    def pixels_of(self, image: Image.Image, framed: Frame | None = None) -> np.ndarray:
        """As `Sidecar.pixels_of`."""
        return self.sidecar.pixels_of(image, framed)

    def inputs(self, batch: np.ndarray) -> torch.Tensor:
        """What the program takes: uint8 [n, input_size, input_size, 3] -> float32 [n, 3,
        input_size, input_size] on the device, normalised by mean and std."""
        return normalised(batch, self.sidecar.mean, self.sidecar.std, self.device)

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        """Real-valued outputs: uint8 [n, input_size, input_size, 3] -> float32 [n, 64], or
        [n, 320] of a model with a longer code."""
        return self.engine(batch)[-1]

    def embeddings(self, batch: np.ndarray) -> np.ndarray:
        """What the hash layer sees: uint8 [n, input_size, input_size, 3] -> float32 [n, width].
        Only of a model that `shows_embeddings`."""
        return self.embeddings_and_outputs(batch)[0]

    def embeddings_and_outputs(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both, from one pass.  Only of a model that `shows_embeddings`."""
        embeddings, outputs = self.engine(batch)
        return embeddings, outputs

    def codes(self, batch: np.ndarray) -> np.ndarray:
        """Codes: uint8 [n, input_size, input_size, 3] -> uint8 [n, 8], or [n, 40] with the longer
        ones behind (see `codes.pack`, `codes.split`)."""
        return codes.pack(self.outputs(batch))


def _parts(
    module: torch.jit.ScriptModule, size: int, device: torch.device
) -> tuple[torch.jit.ScriptModule, ...]:
    """Backbone and hash of a program that applies these one after the other, or the program."""
    drawn = torch.Generator().manual_seed(0)  # of its own: training draws from torch's
    sample = torch.rand(2, 3, size, size, generator=drawn).to(device)
    is_both = _is_hash_of_backbone(module, sample)
    return (module.backbone, module.hash) if is_both else (module,)


def _is_hash_of_backbone(program: torch.jit.ScriptModule, sample: torch.Tensor) -> bool:
    """Whether the program has parts of these names that give its outputs, one after the other."""
    if not {"backbone", "hash"} <= {name for name, _ in program.named_children()}:
        return False
    try:
        with torch.inference_mode():
            embedding = program.backbone(sample)
            outputs = program.hash(embedding)
            return embedding.dim() == 2 and torch.allclose(outputs, program(sample), atol=1e-4)
    except (RuntimeError, IndexError, AttributeError, TypeError):  # parts that do something else
        return False


def _checked(program: Program, sidecar: Sidecar, device: torch.device, path: Path) -> TorchScript:
    """The program as TorchScript runs it, which gives what the sidecar promises.  Raises
    ModelError."""
    size = program.size
    try:
        script = TorchScript(program, device)
        # Thrice: TorchScript compiles in the first passes, which then take no request's time.
        for _ in range(3):
            shape = script(np.zeros((1, size, size, 3), np.uint8))[-1].shape
    except (RuntimeError, AttributeError) as error:  # AttributeError: not one tensor
        reason = str(error).strip().splitlines()[-1]
        raise ModelError(f"{path} does not take a {size}x{size} picture: {reason}") from error
    if shape != (1, sidecar.outputs):
        raise ModelError(
            f"{path} gives outputs of shape {list(shape)} for one picture, "
            f"its sidecar promises [1, {sidecar.outputs}]"
        )
    return script


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ModelError(
            f"device {name!r} is not one; use --device cpu or --device cuda:0"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"device {name!r} is not supported; use --device cpu or --device cuda:0")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"device {name!r} is not there: this machine has {torch.cuda.device_count()} usable "
            "CUDA GPU(s); use --device cpu"
        )
    return device

"""Model and sidecar: what is refused, and that a picture's code does not depend on its company."""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image

from hashing.codes import pack, split, unpack
from hashing.model import Model, ModelError, Sidecar, find_model, read_sidecar
from tests.drawing import draw
from tests.pictures import encoded

NOISE = 1e-4
"""Outputs this near to zero may change their sign with the order in which sums are added up."""


class Halves(torch.nn.Module):
    """Output j is the mean of all pixels (as the network sees them) less j / 64."""

    def forward(self, x):
        return x.mean((1, 2, 3)).unsqueeze(1) - torch.arange(64) / 64


class Long(torch.nn.Module):
    """320 outputs: those of `Halves`, and behind them the mean less j / 256."""

    def forward(self, x):
        mean = x.mean((1, 2, 3)).unsqueeze(1)
        return torch.cat([mean - torch.arange(64) / 64, mean - torch.arange(256) / 256], 1)


class Corner(torch.nn.Module):
    """All outputs are the top right pixel's red."""

    def forward(self, x):
        return x[:, 0, 0, -1].unsqueeze(1).expand(-1, 64)


class Wide(torch.nn.Module):
    def forward(self, x):
        return torch.zeros(x.shape[0], 65)


class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x


class Hashing(torch.nn.Module):
    """hash(backbone(x)), as trained networks are."""

    def __init__(self):
        super().__init__()
        convolution = torch.nn.Conv2d(3, 24, 5, 4)
        self.backbone = torch.nn.Sequential(
            convolution, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
        self.hash = torch.nn.Sequential(torch.nn.Linear(24, 64), torch.nn.BatchNorm1d(64))

    def forward(self, x):
        return self.hash(self.backbone(x))


class SameNames(torch.nn.Module):
    """Parts with the right names that are not applied one after the other."""

    def __init__(self):
        super().__init__()
        self.backbone, self.hash = (torch.nn.Conv2d(3, 3, 1) for _ in range(2))

    def forward(self, x):
        return (self.backbone(x) + self.hash(x)).flatten(1)[:, :64]


class Other(torch.nn.Module):
    """Made for pictures of another size."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(7, 64)

    def forward(self, x):
        return self.layer(x.flatten(1))


def save_model(folder, module=None, stem="small", **fields):
    """A .pt file and its sidecar; `fields` replace what the sidecar says, None leaves it out."""
    path = folder / f"{stem}.pt"
    torch.jit.script(module or Halves()).save(str(path))
    sidecar = {
        "name": stem,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "bits": 64,
        "input_size": 8,
        "resampling": "bilinear",
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
        "training_data": "none",
    } | fields
    text = json.dumps({key: value for key, value in sidecar.items() if value is not None})
    path.with_suffix(".json").write_text(text)
    return path


def refused(path, *words, device="cpu"):
    with pytest.raises(ModelError) as caught:
        Model.load(path, device)
    for word in words:
        assert word in str(caught.value)


# Outputs and codes


def test_outputs_are_what_the_network_says_of_scaled_pixels(tmp_path):
    model = Model.load(save_model(tmp_path, mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25]))
    batch = np.stack([np.full((8, 8, 3), grey, np.uint8) for grey in (0, 51, 255)])
    outputs = model.outputs(batch)
    assert (outputs.dtype, outputs.shape) == (np.float32, (3, 64))
    assert outputs[:, 0].tolist() == pytest.approx([-2, -1.2, 2], abs=1e-5)


def test_channels_are_red_green_blue(tmp_path):
    model = Model.load(save_model(tmp_path, mean=[1, 0, 0], std=[1, 0.5, 0.25]))
    batch = np.full((1, 8, 8, 3), (255, 51, 51), np.uint8)
    assert model.outputs(batch)[0, 0] == pytest.approx((0 + 0.4 + 0.8) / 3, abs=1e-5)


def test_rows_are_rows(tmp_path):
    model = Model.load(save_model(tmp_path, Corner()))
    batch = np.zeros((2, 8, 8, 3), np.uint8)
    batch[0, 0, 7] = batch[1, 7, 0] = 255
    assert model.outputs(batch)[:, 0].tolist() == [1, 0]


def test_codes_are_the_signs_of_the_outputs(tmp_path):
    model = Model.load(save_model(tmp_path))
    codes = model.codes(np.full((1, 8, 8, 3), 128, np.uint8))  # 128/255 is above 32/64
    assert (codes.dtype, codes.shape) == (np.uint8, (1, 8))
    assert unpack(codes)[0].tolist() == [1] * 33 + [0] * 31


def test_the_longer_code_comes_behind_the_code(tmp_path):
    model = Model.load(save_model(tmp_path, Long(), fine_bits=256))
    batch = np.full((1, 8, 8, 3), 128, np.uint8)
    assert model.outputs(batch).shape == (1, 320) and model.sidecar.outputs == 320
    code, fine = split(model.codes(batch))
    assert unpack(code)[0].tolist() == [1] * 33 + [0] * 31
    assert unpack(fine)[0].tolist() == [1] * 129 + [0] * 127


def test_a_sidecar_of_before_means_what_it_meant(tmp_path):
    sidecar = read_sidecar(save_model(tmp_path))
    assert (sidecar.framing, sidecar.fine_bits, sidecar.outputs) == ("squash", 0, 64)


def test_the_framing_of_the_sidecar_is_used(tmp_path):
    margin = np.full((30, 30, 3), 255, np.uint8)
    margin[5:25, 5:25] = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    data, inside = encoded(Image.fromarray(margin), "PNG"), Image.fromarray(margin[5:25, 5:25])
    for framing, image in [("squash", Image.fromarray(margin)), ("letter", inside)]:
        model = Model.load(save_model(tmp_path, framing=framing))
        wanted = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
        assert np.array_equal(model.pixels(data), wanted)
        assert np.array_equal(model.pixels_of(Image.fromarray(margin)), wanted)


def test_no_pictures_have_no_codes(model):
    size = model.sidecar.input_size
    assert model.codes(np.zeros((0, size, size, 3), np.uint8)).shape == (
        0,
        model.sidecar.outputs // 8,
    )


def test_read_only_and_strided_batches_are_taken(model):
    size = model.sidecar.input_size
    batch = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
    frozen = batch.copy()
    frozen.flags.writeable = False
    assert np.array_equal(model.codes(frozen), model.codes(batch))
    assert np.array_equal(model.codes(batch[::-1]), model.codes(batch)[::-1])


def test_precision_is_not_traded_for_speed(model):
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


# Embeddings


def test_the_embedding_is_what_the_hash_layer_sees(tmp_path):
    torch.manual_seed(0)
    module = Hashing().eval()
    module.hash[1].running_mean.normal_()
    path = save_model(tmp_path, module, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])
    model = Model.load(path)
    assert model.shows_embeddings
    batch = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    embeddings, outputs = model.embeddings_and_outputs(batch)
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (5, 24)) and embeddings.std() > 0
    assert np.array_equal(embeddings, model.embeddings(batch))
    assert np.array_equal(outputs, model.outputs(batch))
    inputs = (batch / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.25, 0.3]
    with torch.inference_mode():
        seen = module.backbone(torch.from_numpy(inputs).permute(0, 3, 1, 2).float())
        assert seen.numpy() == pytest.approx(embeddings, abs=1e-4)
        assert module.hash(seen).numpy() == pytest.approx(outputs, abs=1e-4)


@pytest.mark.parametrize("module", [Halves, SameNames])
def test_a_model_built_otherwise_shows_no_embedding(tmp_path, module):
    torch.manual_seed(0)
    model = Model.load(save_model(tmp_path, module()))
    batch = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    assert not model.shows_embeddings and model.outputs(batch).shape == (5, 64)


# The same picture, the same code


@pytest.fixture(scope="module")
def batch(model) -> np.ndarray:
    drawn = [model.pixels_of(draw(seed=5, index=index)) for index in range(40)]
    size = model.sidecar.input_size
    noise = np.random.default_rng(5).integers(0, 256, (20, size, size, 3), np.uint8)
    return np.concatenate([np.stack(drawn), noise])


@pytest.fixture(scope="module")
def alone(model, batch) -> np.ndarray:
    """Outputs of each picture by itself, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield np.concatenate([model.outputs(batch[i : i + 1]) for i in range(len(batch))])
    torch.set_num_threads(before)


def assert_same_but_for_noise(outputs, alone, how, record):
    """Counts the bits that flipped; only where the output is within float noise of zero may one."""
    flipped = (outputs > 0) != (alone > 0)
    record(f"flipped_bits_{how}", int(flipped.sum()))
    print(f"{how}: {flipped.sum()} of {flipped.size} bits, in {flipped.any(1).sum()} pictures")
    assert np.abs(outputs - alone).max() < NOISE
    assert (np.abs(alone[flipped]) < NOISE).all()
    assert flipped.sum() <= 2


@pytest.mark.parametrize(("size", "threads"), [(2, 1), (7, 1), (32, 1), (60, 1), (20, 2), (32, 4)])
def test_a_code_is_the_same_in_any_batch_on_any_number_of_threads(
    model, batch, alone, size, threads, record_property
):
    torch.set_num_threads(threads)
    parts = [model.outputs(batch[i : i + size]) for i in range(0, len(batch), size)]
    how = f"batches of {size} on {threads} threads"
    assert_same_but_for_noise(np.concatenate(parts), alone, how, record_property)


def test_a_code_does_not_depend_on_the_place_in_the_batch(model, batch, alone, record_property):
    order = np.random.default_rng(1).permutation(len(batch))
    outputs = model.outputs(batch[order])
    assert_same_but_for_noise(outputs, alone[order], "shuffled", record_property)


def test_threads_that_share_a_model_do_not_disturb_each_other(model, batch, alone, record_property):
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: model.outputs(batch[i : i + 5]), range(0, len(batch), 5)))
    assert_same_but_for_noise(np.concatenate(parts), alone, "shared", record_property)


def test_a_model_that_is_loaded_again_gives_the_same_codes(model_path, batch, alone):
    """From the first call on: TorchScript optimises itself during the first few."""
    again = Model.load(model_path)
    for _ in range(4):
        assert np.abs(again.outputs(batch[:8]) - alone[:8]).max() < NOISE


def test_pictures_have_codes_of_their_own(alone):
    """A network that lost its weights would pass every test above."""
    assert len(np.unique(pack(alone[:40]), axis=0)) > 20


# Which file is meant


def test_a_folder_means_the_one_model_in_it(tmp_path):
    path = save_model(tmp_path)
    assert find_model(tmp_path) == find_model(str(path)) == path
    assert Model.load(tmp_path).sidecar.name == "small"


def test_a_folder_of_none_or_two_models_is_refused(tmp_path):
    refused(tmp_path, "no .pt file")
    save_model(tmp_path, stem="a")
    save_model(tmp_path, stem="b")
    refused(tmp_path, "2 .pt files", "give the .pt file itself")


def test_a_path_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "none.pt", "none.pt: no such model")


# Sidecars


def test_a_sidecar_comes_back_as_it_was_written(tmp_path):
    sidecar = Sidecar("größe", "0" * 64, 64, 96, "lanczos", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "x")
    (tmp_path / "m.json").write_text(sidecar.to_json(), encoding="utf-8")
    assert read_sidecar(tmp_path / "m.pt") == sidecar


def test_the_shipped_model_has_a_whole_sidecar(model):
    assert model.sidecar.bits == 64
    assert model.sidecar.name == "relahash-medium-64bits"
    assert model.sidecar.training_data


def test_fields_of_later_versions_are_passed_over(tmp_path):
    assert Model.load(save_model(tmp_path, colour_space="sRGB")).sidecar.bits == 64


def test_a_model_without_a_sidecar_is_refused(tmp_path):
    path = save_model(tmp_path)
    path.with_suffix(".json").unlink()
    refused(path, "small.json is missing", "efiss export")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b'"text"'])
def test_a_sidecar_that_is_no_json_object_is_refused(tmp_path, text):
    path = save_model(tmp_path)
    path.with_suffix(".json").write_bytes(text)
    refused(path, "small.json")


@pytest.mark.parametrize(
    "field", ["name", "sha256", "bits", "input_size", "resampling", "mean", "std"]
)
def test_a_sidecar_that_lacks_a_field_is_refused(tmp_path, field):
    refused(save_model(tmp_path, **{field: None}), "small.json lacks", f"'{field}'")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5),
        ("bits", 32),
        ("bits", "64"),
        ("input_size", 7),
        ("input_size", 2049),
        ("input_size", 96.0),
        ("input_size", True),
        ("input_size", "96"),
        ("framing", "crop"),
        ("match", 5),
        ("match", {"distance": {"same": 4}}),
        ("match", {"distance": {"same": 4, "alike": "x"}}),
        ("match", {"distance": {"same": 4, "alike": float("nan")}}),
        ("match", {"distance": {"same": 4, "alike": 9, "shares": [[1]]}}),
        ("match", {"similarity": {"same": 0.5, "alike": 0.2}}),
        ("fine_bits", 128),
        ("fine_bits", "256"),
        ("rank_weight", -1),
        ("rank_weight", "1"),
        ("rank_weight", True),
        ("resampling", "nearest"),
        ("resampling", ["bilinear"]),
        ("resampling", {}),
        ("mean", [0.5, 0.5]),
        ("mean", 0.5),
        ("mean", ["a", "b", "c"]),
        ("std", [0.25, 0, 0.25]),
        ("std", [0.25, 0.25, 0.25, 0.25]),
        ("sha256", "abc"),
        ("sha256", 5),
    ],
)
def test_a_sidecar_with_a_field_of_no_use_is_refused(tmp_path, field, value):
    refused(save_model(tmp_path, **{field: value}), "small.json", field)


# Programs


def test_a_program_of_another_digest_is_refused(tmp_path):
    path = save_model(tmp_path)
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, "small.pt", "do not belong together", "copy both again")


def test_a_file_that_is_no_torchscript_is_refused(tmp_path):
    path = save_model(tmp_path, sha256=sha256(b"no program").hexdigest())
    path.write_bytes(b"no program")
    refused(path, "small.pt is not a TorchScript model")


def test_weights_without_a_program_are_refused(tmp_path):
    path = save_model(tmp_path)
    torch.save({"weight": torch.zeros(3)}, path)
    values = json.loads(path.with_suffix(".json").read_text())
    values["sha256"] = sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(values))
    refused(path, "small.pt is not a TorchScript model")


def test_a_program_of_another_number_of_bits_is_refused(tmp_path):
    refused(save_model(tmp_path, Wide()), "[1, 65]", "its sidecar promises [1, 64]")


def test_a_program_that_does_not_give_one_tensor_is_refused(tmp_path):
    refused(save_model(tmp_path, Pair()), "small.pt")


def test_a_program_for_another_size_is_refused(tmp_path):
    refused(save_model(tmp_path, Other()), "does not take a 8x8 picture")


# Devices


@pytest.mark.parametrize("device", ["gpu", "", "mps", "meta", "cuda:x", "cuda:-1"])
def test_a_device_of_another_kind_is_refused(tmp_path, device):
    refused(save_model(tmp_path), "--device cpu", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there_is_refused(tmp_path, device):
    refused(save_model(tmp_path), repr(device), "use --device cpu", device=device)

"""Training a small network on a few drawn pictures: what is trained on, stops and continues,
seeds, precision, sizes, averaging."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.training import RECIPE, Tiny, equal, examples_of, groups, pictures
from trainer import augment, relahash
from trainer import train as training
from trainer.checkpoint import CheckpointError, read_checkpoint
from trainer.data import DataError, Source
from trainer.examples import TrainingSet, training_set
from trainer.export import export
from trainer.hash_layer import begin_with_axes, neighbourhoods
from trainer.network import make_network
from trainer.targets import Targets
from trainer.train import train
from trainer.whole_network import WholeNetwork

pytestmark = pytest.mark.slow("trains")


@pytest.fixture(scope="module")
def examples():
    return examples_of(pictures(24))


def changed(**values):
    return dataclasses.replace(RECIPE, **values)


def whole_network(examples, recipe) -> WholeNetwork:
    return WholeNetwork(make_network(recipe), examples, recipe, torch.device("cpu"), torch.float32)


def test_what_is_held_out_or_left_out_is_not_even_decoded():
    names = groups(6)
    names[1:2] = groups(1, held_out=True)
    types = np.array(["Caps", "Caps", "Ties", "Bags", "Ties", "Bags"])
    part = pictures(6, labels={"article_type": types}, groups=np.array(names))
    read, encoded = [], part.encoded
    part = dataclasses.replace(part, encoded=lambda row: read.append(row) or encoded(row))
    examples = examples_of(part, recipe=changed(leave_out={"article_type": ["Ties"]}))
    assert sorted(read) == [0, 3, 5] and len(examples) == 3
    assert examples.targets.classes == ["article_type=Bags", "article_type=Caps"]


def test_pictures_of_all_sources_come_in_their_order(tmp_path):
    parts = [pictures(5, name="one"), pictures(4, start=7, name="two")]
    together = training_set(parts, RECIPE, tmp_path / "pictures.npy")
    alone = [examples_of(part) for part in parts]
    assert np.array_equal(together.pixels, np.concatenate([part.pixels for part in alone]))
    assert together.pixels.shape == (9, 32, 32, 3)
    first = [np.array(together.targets.classes)[row > 0].tolist() for row in together.targets.rows]
    for row, part in ((1, parts[0]), (6, parts[1])):
        at = row if part is parts[0] else row - 5
        assert sorted(first[row]) == [
            f"article_type={part.labels['article_type'][at]}", f"colour={part.labels['colour'][at]}"
        ]  # fmt: skip


def test_copies_of_a_picture_share_a_group_and_sources_share_none():
    one, two, three = groups(3)
    part = pictures(4, groups=np.array([one, two, one, three]))
    found = examples_of(part, part).groups
    assert found[0] == found[2] and found[4] == found[6] and len(set(found.tolist())) == 6


def test_a_source_is_drawn_as_often_as_its_weight_says():
    data = (Source("one", "", weight=3), Source("two", "", backdrops=True))
    parts = [pictures(4, name="one"), pictures(16, start=4, name="two")]
    examples = examples_of(*parts, recipe=changed(data=data))
    assert examples.targets.sampling[:4].sum() == pytest.approx(0.75)
    assert np.array_equal(examples.sources, [0] * 4 + [1] * 16)
    assert np.array_equal(examples.backdrops, np.arange(4, 20))


def test_kinds_are_those_that_two_sources_have():
    types = [np.array(["Caps", "Ties", "Bags"]), np.array(["Ties", "Belts", "Caps"])]
    parts = [
        pictures(3, name=name, labels={"article_type": of_part})
        for name, of_part in zip(("one", "two"), types, strict=True)
    ]
    kinds = examples_of(*parts).kinds
    assert kinds[0] == kinds[5] >= 0 and kinds[1] == kinds[3] >= 0 and kinds[0] != kinds[1]
    assert kinds[2] == kinds[4] == -1


def test_a_picture_that_cannot_be_read_is_named_by_its_row_in_the_data():
    names = groups(4)
    names[:2] = groups(2, held_out=True)
    part = pictures(4, groups=np.array(names))
    encoded = part.encoded
    part = dataclasses.replace(part, encoded=lambda row: b"junk" if row == 3 else encoded(row))
    with pytest.raises(DataError, match="drawn, row 3"):
        examples_of(part)


def test_a_label_to_leave_out_that_is_nowhere_is_said():
    with pytest.raises(DataError, match=r"no label typ; it has article_type, colour; .*leave_out"):
        examples_of(pictures(4), recipe=changed(leave_out={"typ": ["Ties"]}))


def test_every_step_is_told(examples, tmp_path):
    told = []
    train(examples, RECIPE, tmp_path / "c.pt", tell=told.append)
    assert [now.step for now in told] == list(range(1, 13)) and {now.steps for now in told} == {12}
    assert all(now.losses.keys() == {"relahash", "instance", "embedding"} for now in told)
    assert all(np.isfinite(list(now.losses.values())).all() for now in told)
    assert told[-1].seconds_left == 0 and told[0].seconds_left > 0
    assert all(now.pictures_per_second > 0 for now in told)
    rates = [now.learning_rate for now in told]
    assert max(rates) == pytest.approx(RECIPE.learning_rate, rel=0.1) and rates[-1] < rates[2] / 100


@pytest.mark.parametrize(
    ("terms", "names"),
    [
        ({"instance": 0.0}, {"relahash", "embedding"}),
        ({"embedding": 0.0, "averaging": 0.0}, {"relahash", "instance"}),
        ({"instance": 0.0, "embedding": 0.0}, {"relahash"}),
    ],
)
def test_terms_of_no_weight_are_left_out(examples, tmp_path, terms, names):
    told = []
    train(examples, changed(epochs=1, **terms), tmp_path / "c.pt", tell=told.append)
    assert told[-1].losses.keys() == names


@pytest.mark.parametrize("epochs", range(1, 13))
def test_runs_of_few_steps_end_too(tmp_path, epochs):
    few = examples_of(pictures(4))
    told = []
    train(few, changed(epochs=epochs), tmp_path / "c.pt", tell=told.append)
    assert told[-1].step == told[-1].steps == epochs


def test_a_network_learns_to_tell_pictures_apart(tmp_path):
    """Reddish and bluish noise, two classes: their codes part."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 128, (64, 32, 32, 3), np.uint8)
    pixels[::2, :, :, 0] += 90
    pixels[1::2, :, :, 2] += 90
    rows = np.eye(2, dtype=np.float32)[np.arange(64) % 2]
    targets = Targets(["colour=Red", "colour=Blue"], rows, np.full(64, 1 / 64))
    nothing = np.zeros(0, int)
    examples = TrainingSet(pixels, targets, np.arange(64), np.zeros(64, int), nothing)
    recipe = changed(epochs=10, batch_size=16, augmentation="mild", backbone_learning_rate=1e-2)
    network = train(examples, recipe, tmp_path / "c.pt")
    assert not network.training
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        bits = network(inputs) > 0
    distances = (bits[:, None] != bits[None]).sum(dim=2).float()
    same = torch.arange(64)[:, None] % 2 == torch.arange(64)[None] % 2
    assert distances[same].mean() + 15 < distances[~same].mean()


def test_a_seed_reproduces_and_another_differs(examples, tmp_path):
    one, again, other = (
        train(examples, changed(seed=seed), tmp_path / f"{number}.pt").state_dict()
        for number, seed in enumerate((3, 3, 4))
    )
    assert equal(one, again)
    assert not torch.equal(one["hash.0.weight"], other["hash.0.weight"])


class Forgetful(Tiny):
    """A backbone that draws at random as it trains."""

    def __init__(self):
        super().__init__()
        self.append(nn.Dropout(0.5))


class Normed(Tiny):
    """A backbone whose batch norm gathers statistics as it trains."""

    def __init__(self):
        super().__init__()
        self.insert(1, nn.BatchNorm2d(8))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"averaging": 0.0},
        {"backbone": f"{__name__}:Forgetful"},
        {"backbone": f"{__name__}:Normed"},
    ],
    ids=str,
)
def test_a_stopped_run_ends_where_an_undisturbed_one_does(examples, tmp_path, monkeypatch, values):
    recipe = changed(**values)
    undisturbed = train(examples, recipe, tmp_path / "a.pt")
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    for stop in (3, 8):

        def press_ctrl_c(now, stop=stop):
            if now.step == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(examples, recipe, tmp_path / "b.pt", tell=press_ctrl_c)
        assert read_checkpoint(tmp_path / "b.pt").steps_done == stop
        torch.rand(5)  # a continued run does not stand where torch's generator stood
    told = []
    resumed = train(examples, recipe, tmp_path / "b.pt", tell=told.append)
    assert [now.step for now in told] == [9, 10, 11, 12]
    assert equal(undisturbed.state_dict(), resumed.state_dict())
    # All else that training goes on with, too.
    states = [torch.load(tmp_path / name, weights_only=True) for name in ("a.pt", "b.pt")]
    assert states[0]["schedule"] == states[1]["schedule"]
    moments = [state["optimizer"]["state"] for state in states]
    assert all(equal(moments[0][number], moments[1][number]) for number in moments[0])


def test_a_finished_run_is_not_trained_again(examples, tmp_path):
    done = train(examples, RECIPE, tmp_path / "c.pt")
    told = []
    again = train(examples, RECIPE, tmp_path / "c.pt", tell=told.append)
    assert not told and equal(done.state_dict(), again.state_dict())


def test_checkpoints_are_written_now_and_then_and_at_the_end(examples, tmp_path, monkeypatch):
    saved, save = [], training.save
    monkeypatch.setattr(training, "save", lambda *arguments: saved.append(save(*arguments)))
    train(examples, RECIPE, tmp_path / "c.pt")
    assert len(saved) == 1
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)
    train(examples, RECIPE, tmp_path / "d.pt")
    assert len(saved) == 1 + 12


def test_a_checkpoint_of_another_recipe_is_refused(examples, tmp_path):
    train(examples, changed(epochs=1, margin=0.3), tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"another recipe \(epochs 1, margin 0\.3\); give"):
        train(examples, RECIPE, tmp_path / "c.pt")


@pytest.mark.parametrize("other", ["as many pictures", "one picture more", "other labels"])
def test_a_checkpoint_of_other_data_is_refused(examples, tmp_path, other):
    train(examples, changed(epochs=1), tmp_path / "c.pt")
    data = {
        "as many pictures": pictures(24, start=1),
        "one picture more": pictures(25),
        "other labels": pictures(24, labels={"colour": pictures(24).labels["colour"]}),
    }[other]
    with pytest.raises(CheckpointError, match="of a run on other data; give the same data, or"):
        train(examples_of(data), changed(epochs=1), tmp_path / "c.pt")


def test_a_damaged_checkpoint_is_not_continued_from(examples, tmp_path):
    (tmp_path / "c.pt").write_bytes(b"half a file")
    with pytest.raises(
        CheckpointError, match="not a checkpoint of `efiss train`, or it is damaged"
    ):
        train(examples, RECIPE, tmp_path / "c.pt")
    train(examples, RECIPE, tmp_path / "d.pt")
    state = torch.load(tmp_path / "d.pt", weights_only=True)
    del state["optimizer"]
    torch.save(state, tmp_path / "d.pt")
    with pytest.raises(
        CheckpointError, match="not a checkpoint of `efiss train`, or it is damaged"
    ):
        train(examples, RECIPE, tmp_path / "d.pt")


def test_bfloat16_trains_nearly_as_float32(examples, tmp_path):
    states, losses = [], []
    for precision in (torch.float32, torch.bfloat16):
        told = []
        recipe = changed(epochs=1, averaging=0.0, augmentation="none")
        network = train(
            examples, recipe, tmp_path / f"{precision}.pt", "cpu", precision, told.append
        )
        losses.append(told[-1].losses)
        states.append(network.state_dict())
    assert losses[0] != losses[1]
    assert losses[0] == {
        # bfloat16 keeps 8 bits, so a similarity of 1 is off by up to 0.004.
        name: pytest.approx(value, rel=0.05, abs=0.004)
        for name, value in losses[1].items()
    }
    assert all(value.dtype == states[0][name].dtype for name, value in states[1].items())
    assert not equal(*states)


def test_training_sizes_are_used_in_order_for_even_shares_of_the_epochs(
    examples, tmp_path, monkeypatch
):
    sizes, apply = [], augment.apply
    monkeypatch.setattr(
        augment, "apply", lambda *arguments: sizes.append(arguments[2]) or apply(*arguments)
    )
    train(examples, changed(epochs=5, training_sizes=(16, 32, 24)), tmp_path / "c.pt")
    of_epochs = [sizes[number * 6] for number in range(5)]  # 3 steps of two views an epoch
    assert of_epochs == [16, 16, 32, 32, 24]
    assert sizes == [size for size in of_epochs for _ in range(6)]


def test_rows_are_drawn_as_the_targets_say_and_none_without_a_class(tmp_path):
    types = np.array(["Caps"] * 4 + ["Ties"] * 18 + [""] * 2)
    recipe = changed(sampling_power=1.0, epochs=20)
    examples = examples_of(pictures(24, labels={"article_type": types}), recipe=recipe)
    run = whole_network(examples, recipe)
    rows = np.concatenate([run.batch(number)[0] for number in range(60)])
    assert rows.max() < 22 and np.mean(rows < 4) == pytest.approx(0.5, abs=0.08)


def test_the_two_views_are_the_picture_mild_and_as_a_phone_sees_it(examples, monkeypatch):
    run = whole_network(examples, RECIPE)
    rows, views = run.batch(11)  # of the last epoch: size 32
    assert views.shape == (2, 8, 3, 32, 32)
    pixels = torch.from_numpy(examples.pixels[rows]).permute(0, 3, 1, 2) / 127.5 - 1
    mild, phone = (views - pixels).abs().mean(dim=(1, 2, 3, 4))
    assert 0 < mild < phone
    plain = whole_network(examples, changed(augmentation="none"))
    rows, views = plain.batch(11)
    pixels = torch.from_numpy(examples.pixels[rows]).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(views, pixels.expand(2, -1, -1, -1, -1), atol=1e-6)


def test_pixels_are_normalised_with_mean_and_std_of_each_channel(examples):
    recipe = changed(augmentation="none", mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    run = whole_network(examples, recipe)
    rows, views = run.batch(11)
    wanted = (examples.pixels[rows] / 255 - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0]
    assert np.allclose(views[0].permute(0, 2, 3, 1), wanted, atol=1e-6)


@pytest.mark.parametrize(
    # A decay that is longer than a tenth of the 12 steps is shortened: 1 - 10 / 12.
    ("averaging", "decay"),
    [(0.0, 0.0), (0.1, 0.1), (0.998, 1 - 10 / 12)],
)
def test_the_network_that_is_used_and_kept_is_the_averaged_one(
    examples, tmp_path, monkeypatch, averaging, decay
):
    states, step = [], training._Optimizer.step

    def watched(optimizer, losses):
        step(optimizer, losses)
        states.append({k: v.double().clone() for k, v in optimizer.network.state_dict().items()})

    monkeypatch.setattr(training._Optimizer, "step", watched)
    network = train(examples, changed(averaging=averaging), tmp_path / "c.pt")
    average = states[0]
    for state in states[1:]:
        average = {k: decay * average[k] + (1 - decay) * v for k, v in state.items()}
    kept = read_checkpoint(tmp_path / "c.pt").network.state_dict()
    assert equal(network.state_dict(), kept)
    for name, value in kept.items():
        if value.is_floating_point():
            assert torch.allclose(value.double(), average[name], atol=1e-6), name
    apart = (states[-1]["hash.0.weight"] - average["hash.0.weight"]).abs().max()
    assert (apart == 0) == (decay == 0)


# -- going on with another run's network ---------------------------------------------------------


@pytest.fixture(scope="module")
def other_run(examples, tmp_path_factory):
    """The checkpoint of a finished run."""
    path = tmp_path_factory.mktemp("other") / "c.pt"
    train(examples, RECIPE, path)
    return path


def started(recipe, tmp_path, examples):
    """The network of a run of one step that cannot change a weight by more than 1e-6."""
    still = {"learning_rate": 1e-9, "backbone_learning_rate": 0.0, "averaging": 0.0, "epochs": 1}
    return train(examples, dataclasses.replace(recipe, **still), tmp_path / "c.pt")


def test_a_run_starts_with_another_ones_network(examples, tmp_path, other_run):
    other = read_checkpoint(other_run).network
    network = started(changed(start=str(other_run)), tmp_path, examples)
    assert torch.allclose(network.hash[0].weight, other.hash[0].weight, atol=1e-5)
    assert equal(network.backbone.state_dict(), other.backbone.state_dict())


def test_a_run_starts_with_an_exported_model(examples, tmp_path, other_run):
    other = read_checkpoint(other_run)
    export(other.network, tmp_path / "model.pt", other.recipe)
    network = started(changed(start=str(tmp_path / "model.pt")), tmp_path, examples)
    assert torch.allclose(network.hash[0].weight, other.network.hash[0].weight, atol=1e-5)
    assert equal(network.backbone.state_dict(), other.network.backbone.state_dict())


def test_a_hash_layer_of_another_shape_starts_afresh(examples, tmp_path, other_run):
    network = started(changed(start=str(other_run), hidden=8), tmp_path, examples)
    other = read_checkpoint(other_run).network
    assert equal(network.backbone.state_dict(), other.backbone.state_dict())
    assert network.hash[0].weight.shape == (8, 16)


def test_a_start_with_another_backbone_is_refused(examples, tmp_path, other_run):
    recipe = changed(start=str(other_run), backbone="residual-small")
    with pytest.raises(CheckpointError, match=r"start: .* has another backbone; give the recipe"):
        train(examples, recipe, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"none\.pt is missing"):
        train(examples, changed(start="none.pt"), tmp_path / "c.pt")


# -- the hash layer alone ------------------------------------------------------------------------

FIXED = {"fixed_views": 3, "hidden": 8, "own_bits": 16, "neighbours": 4, "instance": 1.0}


def test_with_fixed_views_the_hash_layer_alone_learns(tmp_path, other_run):
    recipe = changed(start=str(other_run), epochs=60, batch_size=24, **FIXED)
    losses = []
    network = train(
        examples_of(pictures(24), recipe=recipe),
        recipe,
        tmp_path / "c.pt",
        tell=lambda now: losses.append(dict(now.losses)),
    )
    other = read_checkpoint(other_run).network
    assert equal(network.backbone.state_dict(), other.backbone.state_dict())
    assert losses[-1].keys() == {"relahash", "instance", "embedding"}
    assert losses[-1]["relahash"] < losses[0]["relahash"]
    views = [np.load(path) for path in sorted(tmp_path.glob("embeddings-*.npy"))]
    assert [(view.dtype, view.shape) for view in views] == [(np.float16, (24, 16))] * 3
    assert not np.array_equal(views[1], views[2])


LONGER = {
    "fine_bits": 256, "framing": "letter", "across": 1.0, "spread": 1.0, "classifiers": 1.0,
    "projection": 1.0, "drop": 0.1,
}  # fmt: skip


def test_a_longer_code_is_trained_beside_the_code_and_exported(tmp_path):
    parts = [pictures(16, name="one"), pictures(16, start=16, name="two")]
    recipe, told = changed(epochs=1, **LONGER), []
    examples = examples_of(*parts, recipe=recipe)
    network = train(examples, recipe, tmp_path / "c.pt", tell=told.append)
    terms = {"instance", "embedding", "across", "spread"}
    wanted = terms | {f"fine {name}" for name in terms}
    assert told[-1].losses.keys() == wanted | {"relahash", "classes", "kinds", "projection"}
    assert np.isfinite(list(told[-1].losses.values())).all()
    sidecar = export(network, tmp_path / "longer.pt", recipe)
    assert (sidecar.fine_bits, sidecar.outputs) == (256, 320)
    # The guides are in the checkpoint, and not in the model.
    assert any("guides" in name for name in torch.load(tmp_path / "c.pt", weights_only=True))
    assert not [
        name for name in torch.jit.load(tmp_path / "longer.pt").state_dict() if "guid" in name
    ]


def test_the_longer_code_begins_with_the_embeddings_axes():
    random = np.random.default_rng(0)
    embeddings = (random.normal(size=(500, 12)) * np.linspace(4, 1, 12) + 3).astype(np.float16)
    layer = make_network(changed(fine_bits=256)).hash.fine
    layer[0] = nn.Linear(12, 256, bias=False)
    begin_with_axes(layer, embeddings, seed=0)
    with torch.inference_mode():
        outputs = layer.eval()(torch.from_numpy(embeddings).float()).numpy()
    assert np.abs(outputs.mean(axis=0)).max() < 0.01
    assert outputs.var(axis=0).mean() == pytest.approx(1, abs=0.02)
    # A turn keeps similarities: those of the principal axes, each divided by its singular value's
    # root.
    centred = embeddings - embeddings.mean(axis=0, dtype=float)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    wanted = centred @ axes.T / singular**0.5
    products, expected = outputs @ outputs.T, wanted @ wanted.T
    scale = (products * expected).sum() / (expected**2).sum()
    assert np.abs(products / scale - expected).max() < 0.01 * np.abs(expected).max()


def test_fixed_views_are_looked_at_once(tmp_path, other_run, monkeypatch):
    recipe = changed(start=str(other_run), **FIXED)
    examples = examples_of(pictures(24), recipe=recipe)
    (tmp_path / "undisturbed").mkdir()
    undisturbed = train(examples, recipe, tmp_path / "undisturbed" / "c.pt")

    def press_ctrl_c(now):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(examples, recipe, tmp_path / "c.pt", tell=press_ctrl_c)
    monkeypatch.delattr(augment, "apply")  # nothing is looked at again
    again = train(examples, recipe, tmp_path / "c.pt")
    assert equal(undisturbed.state_dict(), again.state_dict())


def test_the_instance_term_is_asked_about_neighbours(tmp_path, other_run, monkeypatch):
    """Of two neighbourhoods, at most four pictures each."""
    recipe = changed(start=str(other_run), epochs=2, batch_size=10, **FIXED)
    asked = []

    def term(similarities, groups):
        asked.append((similarities.shape, groups.numpy()))
        return similarities.sum() * 0

    monkeypatch.setattr(relahash, "instance_term", term)
    examples = examples_of(pictures(24), recipe=recipe)
    train(examples, recipe, tmp_path / "c.pt")
    (kept,) = tmp_path.glob("neighbourhoods-*.npy")
    (first,) = tmp_path.glob("embeddings-*-1-none.npy")
    known = np.load(kept)
    assert np.array_equal(known, neighbourhoods(np.load(first), 4, tmp_path / "again.npy"))
    assert 1 < len(set(known.tolist())) <= 6
    of_group = dict(zip(examples.groups.tolist(), known.tolist(), strict=True))
    assert len(asked) == 4
    for shape, told in asked:
        assert shape == (2 * len(told), 2 * len(told)) and 0 < len(told) <= 8
        assert 1 <= len({of_group[group] for group in told.tolist()}) <= 2


def test_neighbourhoods_are_of_what_looks_alike_and_computed_once(tmp_path):
    values = np.repeat(np.eye(3, 5, dtype=np.float16), 8, axis=0)
    found = neighbourhoods(values, 8, tmp_path / "n.npy")
    assert found.shape == (24,) and len(set(found.tolist())) == 3
    assert (found.reshape(3, 8) == found[::8, None]).all()
    assert np.array_equal(neighbourhoods(values[::-1], 8, tmp_path / "n.npy"), found)


def test_own_bits_are_not_pulled_to_centroids(examples, tmp_path):
    """With the loss alone, the bits that it does not see keep the weights they start with."""
    recipe = changed(own_bits=16, instance=0.0, embedding=0.0, averaging=0.0, weight_decay=0.0)
    torch.manual_seed(recipe.seed)
    before = make_network(recipe).hash[0].weight
    after = train(examples, recipe, tmp_path / "c.pt").hash[0].weight
    assert torch.equal(before[48:], after[48:]) and not torch.equal(before[:48], after[:48])

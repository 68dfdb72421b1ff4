"""Augmentation: what it keeps, what it changes, and that it does not depend on its batch."""

import math

import pytest
import torch

from trainer.augment import _extents, apply, draw


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(n: int, size: int = 32) -> torch.Tensor:
    """Smooth coloured pictures, the first half on white."""
    images = torch.nn.functional.interpolate(
        torch.rand(n, 3, 4, 4, generator=seeded(0)), size=(size, size), mode="bilinear"
    )
    images[: n // 2, :, : size // 4] = 1
    return images


def chosen(drawn: dict, *names: str) -> dict:
    """The same draw in which of all changes that are made sometimes only these are made."""
    sometimes = (
        "background", "frame", "quarter", "spotlight", "coarse", "blur", "cast", "grey", "jpeg",
    )  # fmt: skip
    n = len(drawn["scale"])
    return drawn | {name: torch.full((n,), 0.0 if name in names else 1.0) for name in sometimes}


def unmoved(drawn: dict, smallest: float) -> dict:
    """The same draw with the whole picture cut out, upright, as wide as high and not mirrored."""
    n, half = len(drawn["scale"]), 0.5
    whole = (1.0 - smallest) / (1.05 - smallest)
    changes = {"scale": whole, "aspect": half, "angle": half, "mirror": 1.0}
    drawn = drawn | {name: torch.full((n,), value) for name, value in changes.items()}
    return drawn | {"shift": torch.full((n, 2), half), "light": torch.full((n, 3), half)}


@pytest.mark.parametrize("size", [24, 32, 48])
@pytest.mark.parametrize("strength", ["none", "mild", "phone"])
def test_shape_and_range_hold_and_a_seed_reproduces(strength, size):
    images = some_images(64)
    one = apply(images, draw(64, seeded(1)), size, strength)
    assert one.shape == (64, 3, size, size) and one.dtype == torch.float32
    assert one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, apply(images, draw(64, seeded(1)), size, strength))
    other = apply(images, draw(64, seeded(2)), size, strength)
    assert torch.equal(one, other) == (strength == "none")


def test_the_pictures_given_are_left_as_they_are():
    images = some_images(64)
    before = images.clone()
    apply(images, draw(64, seeded(1)), 32, "phone")
    assert torch.equal(images, before)


def test_none_only_resizes():
    images = some_images(4)
    assert torch.equal(apply(images, draw(4, seeded(1)), 32, "none"), images)
    smaller = apply(images, draw(4, seeded(1)), 16, "none")
    means = images.unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean(dim=(3, 5))
    assert (smaller - means).abs().mean() < 0.02 and smaller.max() <= 1


def test_mild_changes_less_than_phone():
    images = some_images(64)
    drawn = draw(64, seeded(1))
    mild, phone = (
        (apply(images, drawn, 32, strength) - images).abs().mean() for strength in ("mild", "phone")
    )
    assert 0.01 < mild < phone / 1.2


@pytest.mark.parametrize("strength", ["mild", "phone"])
def test_a_batch_shared_out_gives_the_pictures_of_the_whole(strength):
    images, drawn = some_images(64), draw(64, seeded(3))
    whole = apply(images, drawn, 24, strength)
    for size in (1, 16, 32):
        shares = [slice(start, start + size) for start in range(0, 64, size)]
        parts = [
            apply(
                images[share], {name: value[share] for name, value in drawn.items()}, 24, strength
            )
            for share in shares
        ]
        # A value that lies between two of JPEG's steps may round either way.
        assert (torch.cat(parts) - whole).abs().max() < 0.02
        assert (torch.cat(parts) - whole).abs().mean() < 1e-5


def test_without_any_change_the_picture_is_itself():
    images = some_images(8)
    same = apply(images, unmoved(chosen(draw(8, seeded(1))), 0.6), 32, "phone")
    assert torch.allclose(same, images, atol=1e-5)


def test_pictures_are_mirrored_cut_out_moved_and_turned():
    ramp = torch.linspace(0.2, 0.8, 65)
    image = torch.stack([ramp.expand(65, 65), ramp[:, None].expand(65, 65), torch.zeros(65, 65)])[
        None
    ]
    still = unmoved(chosen(draw(1, seeded(1))), 0.6)

    def middle(**changes: float) -> tuple[list[float], list[float], list[float]]:
        """Red and green in the middle, and their slopes to the right and downwards."""
        drawn = still | {
            name: torch.full_like(still[name], value) for name, value in changes.items()
        }
        made = apply(image, drawn, 65, "phone")[0, :2] * 64 / 0.6
        right, down = made[:, 32, 33] - made[:, 32, 31], made[:, 33, 32] - made[:, 31, 32]
        values = made[:, 32, 32] - 0.2 * 64 / 0.6
        return tuple([round(v, 2) for v in x.tolist()] for x in (values, right / 2, down / 2))

    assert middle() == ([32, 32], [1, 0], [0, 1])
    assert middle(mirror=0.0) == ([32, 32], [-1, 0], [0, 1])
    assert middle(scale=0.0) == ([32, 32], [0.6, 0], [0, 0.6])
    cos, sin = round(math.cos(math.radians(12)), 2), round(math.sin(math.radians(12)), 2)
    assert middle(angle=1.0) == ([32, 32], [cos, sin], [-sin, cos])
    (red, green), _, _ = middle(scale=0.0, shift=0.75)  # by half of the 0.4 that are left over
    assert red == green == pytest.approx(32 + 0.2 * 32.5, abs=0.1)
    assert middle(quarter=0.0)[1:] == ([0, -1], [1, 0])


def studio_picture() -> torch.Tensor:
    """A grey product with a white patch on it, before white: [1, 3, 64, 64]."""
    image = torch.ones(1, 3, 64, 64)
    image[:, :, 16:48, 16:48] = 0.4
    image[:, :, 28:36, 28:36] = 1
    return image


def in_place(drawn: dict) -> dict:
    """A product is put before another background where it was, as large as it was."""
    n = len(drawn["scale"])
    return drawn | {"place": torch.full((n,), 2 / 9), "shape": torch.full((n,), 0.5)}


@pytest.mark.parametrize("has_backdrops", [False, True])
def test_a_studios_background_is_replaced_and_the_product_stays(has_backdrops):
    image = studio_picture().repeat(16, 1, 1, 1)
    drawn = in_place(unmoved(chosen(draw(16, seeded(5)), "background"), 0.6))
    photos = 0.6 * torch.rand(16, 3, 64, 64, generator=seeded(7))
    changed = apply(image, drawn, 64, "phone", backdrops=photos if has_backdrops else None)
    assert torch.allclose(changed[:, :, 18:46, 18:46], image[:, :, 18:46, 18:46], atol=1e-4)
    border = torch.cat([changed[:, :, :12].flatten(2), changed[:, :, :, :12].flatten(2)], dim=2)
    assert border.mean() < (0.61 if has_backdrops else 0.8)  # white before
    assert border.flatten(1).std(dim=1).min() > 0.005
    if has_backdrops:
        assert border.max() < 0.61


def framed(content: torch.Tensor, bars: int, colour: float) -> torch.Tensor:
    """A square as `letter` makes it of a content that is higher than wide: bars left and right."""
    return torch.nn.functional.pad(content, (bars, bars), value=colour)


def test_what_is_cut_out_of_a_framed_picture_is_framed_again():
    content = torch.full((32, 3, 64, 40), 0.5)
    content[:, :, 20:44, 10:30] = 0.2
    image = framed(content, 12, 1.0)
    drawn = unmoved(chosen(draw(32, seeded(1))), 0.6)
    same = apply(image, drawn, 64, "phone", "letter")
    kept = drawn["pad"] < 0.75  # the others have the colour of their edges
    assert kept.any() and not kept.all()
    assert torch.allclose(same[kept], image[kept], atol=1e-5)
    assert torch.allclose(same[~kept][:, :, :, :10], torch.tensor(0.5), atol=1e-5)
    # Half as wide: the content's height decides, and the bars grow.
    narrow = drawn | {"aspect": torch.zeros(32)}
    bars = (apply(image, narrow, 64, "phone", "letter")[kept] == 1).all(dim=1)
    assert 12 < bars[0, 32].sum() / 2 < 24 and bars[0, 32].sum() == bars[0, 5].sum()


@pytest.mark.parametrize("framing", ["squash", "letter"])
def test_a_frame_that_was_not_cut_off_stands_around_the_picture(framing):
    image = torch.rand(64, 3, 48, 48, generator=seeded(2)) * 0.2 + 0.4
    drawn = unmoved(chosen(draw(64, seeded(3)), "frame"), 0.6)
    changed = apply(image, drawn, 48, "phone", framing)
    assert torch.allclose(changed.mean(dim=(2, 3)), image.mean(dim=(2, 3)), atol=0.5)
    outermost = changed[:, :, 0]
    is_plain = outermost.std(dim=2).amax(dim=1) < 1e-5
    assert is_plain.float().mean() > 0.7  # a thin one goes within a pixel
    assert (outermost[is_plain] > 0.99).all(dim=(1, 2)).any()
    assert (outermost[is_plain] < 0.13).all(dim=(1, 2)).any()


def test_extents_are_those_of_the_content():
    image = framed(torch.rand(1, 3, 64, 40, generator=seeded(2)), 12, 0.3)
    pictures = torch.cat([image, image.transpose(2, 3), torch.rand(1, 3, 64, 64)])
    pictures = torch.cat([pictures, torch.ones(1, 3, 64, 64)])
    wanted = [[40 / 64, 1], [1, 40 / 64], [1, 1], [1, 1]]
    assert torch.allclose(_extents(pictures), torch.tensor(wanted))


def test_a_picture_without_a_white_background_keeps_its_own():
    image = studio_picture().clamp_max(0.8)
    drawn = unmoved(chosen(draw(1, seeded(5)), "background"), 0.6)
    assert torch.allclose(apply(image, drawn, 64, "phone"), image, atol=1e-5)


def test_the_spotlight_leaves_the_middle_on_white():
    image = torch.full((8, 3, 64, 64), 0.3)
    lit = apply(image, unmoved(chosen(draw(8, seeded(5)), "spotlight"), 0.6), 64, "phone")
    assert torch.allclose(lit[:, :, 28:36, 28:36], image[:, :, 28:36, 28:36])
    assert torch.allclose(lit[:, :, :2, :2], torch.ones(8, 3, 2, 2))


def test_a_cast_multiplies_the_channels_within_bounds():
    image = torch.full((64, 3, 8, 8), 0.5)
    cast = apply(image, unmoved(chosen(draw(64, seeded(5)), "cast"), 0.6), 8, "phone")
    gains = cast.mean(dim=(2, 3)) / 0.5
    assert 0.8 - 1e-5 <= gains.min() < 0.85 and 1.2 < gains.max() <= 1.25 + 1e-5
    assert cast.flatten(2).std(dim=2).max() < 1e-5
    assert gains.std(dim=1).mean() > 0.05  # of one picture, each channel its own


@pytest.mark.parametrize("change", ["coarse", "blur", "jpeg"])
def test_what_takes_detail_keeps_the_colours(change):
    noise = torch.rand(32, 3, 96, 96, generator=seeded(4))
    taken = apply(noise, unmoved(chosen(draw(32, seeded(5)), change), 0.6), 96, "phone")
    assert (taken.std(dim=(2, 3)) < 0.9 * noise.std(dim=(2, 3))).all()
    assert (taken.mean(dim=(1, 2, 3)) - noise.mean(dim=(1, 2, 3))).abs().max() < 0.02


def test_a_picture_without_colours_is_grey():
    image = torch.rand(8, 3, 16, 16, generator=seeded(4)) * 0.5 + 0.2
    grey = apply(image, unmoved(chosen(draw(8, seeded(5)), "grey"), 0.6), 16, "phone")
    wanted = (image * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    assert torch.allclose(grey, wanted.expand(-1, 3, -1, -1), atol=1e-5)

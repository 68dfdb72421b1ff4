"""Augmentation: a picture as a phone, a shop's studio or a small preview would have shown it, and
with what framing may leave behind.

In two steps, so that what is drawn at random does not depend on how a batch is shared out among
processes: `draw` draws the numbers for a whole batch, `apply` makes the pictures.  Both work on the
device that the generator and the pictures are on.
"""

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from trainer.jpeg import compressed

COARSE_SIDES = (20, 32, 48, 64, 80)
"""Sides in pixels that a picture is reduced to and enlarged from, as small previews are."""
WHITE = 0.9
"""Least brightness of the darkest channel of a studio's background."""
FLOOD_SIDE, FLOOD_STEPS = 32, 16
EDGE_POINTS = 14
"""Along every edge, of which the median is taken."""

Draw = dict[str, torch.Tensor]
"""Random numbers of a batch by name, each float [n] or [n, ...]."""


@dataclasses.dataclass(frozen=True)
class Strength:
    """How strongly, and to what share of the pictures, each thing is done."""

    smallest: float
    """Least share of the sides that is cut out; the largest is 1.05."""
    stretch: float
    """Width to height are changed by up to this factor."""
    turn: float
    """By up to so many degrees."""
    quarter: float
    """Share turned by 90 degrees more."""
    background: float
    frame: float
    """Share around which a frame was not cut off."""
    coarse: float
    gains: float
    """Red, green and blue are multiplied by up to this factor."""
    light: float
    grey: float
    compressed: float
    blurred: float = 0.0
    spotlight: float = 0.0


STRENGTHS = {
    "mild": Strength(0.84, 1.08, 3, 0.02, 0.08, 0.1, 0.15, 1.08, 0.05, 0.04, 0.1),
    "phone": Strength(0.6, 1.25, 12, 0.05, 0.4, 0.1, 0.34, 1.25, 0.2, 0.07, 0.3, 0.1, 0.03),
}


def draw(n: int, random: torch.Generator) -> Draw:
    """Random numbers for n pictures, on the generator's device."""

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(n, *shape, generator=random, device=random.device)

    return {
        "scale": uniform(), "aspect": uniform(), "shift": uniform(2),
        "angle": uniform(), "quarter": uniform(), "mirror": uniform(),
        "background": uniform(), "place": uniform(), "shape": uniform(),
        "stretch": uniform(5), "smooth": uniform(),
        "colours": uniform(3, 3, 3), "texture": uniform(3, 16, 16), "pale": uniform(),
        "frame": uniform(), "width": uniform(2), "fill": uniform(4), "pad": uniform(),
        "spotlight": uniform(), "radius": uniform(), "blur": uniform(),
        "coarse": uniform(), "side": uniform(), "saved": uniform(),
        "cast": uniform(), "gains": uniform(3), "light": uniform(3), "grey": uniform(),
        "jpeg": uniform(), "quality": uniform(),
    }  # fmt: skip


def apply(
    images: torch.Tensor,
    drawn: Draw,
    size: int,
    strength: str,
    framing: str = "squash",
    backdrops: torch.Tensor | None = None,
) -> torch.Tensor:
    """float [n, 3, s, s] in 0-1 -> float [n, 3, size, size] in 0-1.

    strength: `none` only resizes.  `mild` moves, mirrors and lights a little: another upload of the
    same picture.  `phone` does so strongly and changes backgrounds, colour temperature, sharpness,
    resolution and compression as well: the studio's picture as a phone's and, where a spotlight
    leaves the middle on white, the phone's as a studio's.
    framing: what made squares of the pictures, and makes squares of what is cut out of them.
    backdrops: float [n, 3, s, s], pictures whose borders may be put behind products; drawn colours
    without.
    """
    if strength == "none":
        return _resized(images, size)
    how = STRENGTHS[strength]
    images = _cut_out(images, drawn, size, how, framing == "letter", backdrops)
    images = _where(drawn["spotlight"] < how.spotlight, images, drawn, _in_the_spotlight)
    images = _where(drawn["blur"] < how.blurred, images, drawn, _blurred)
    images = _where(drawn["coarse"] < how.coarse, images, drawn, _coarse)
    images = _lit(images, drawn, how)
    return _where(drawn["jpeg"] < how.compressed, images, drawn, _saved)


def _where(
    chosen: torch.Tensor,
    images: torch.Tensor,
    drawn: Draw,
    change: Callable[[torch.Tensor, Draw], torch.Tensor],
) -> torch.Tensor:
    """The images with the chosen ones changed."""
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return images
    own = {name: values[rows] for name, values in drawn.items()}
    return images.index_copy(0, rows, change(images[rows], own))


def _resized(images: torch.Tensor, size: int) -> torch.Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(
        images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)


def _cut_out(
    images: torch.Tensor,
    drawn: Draw,
    size: int,
    how: Strength,
    is_letter: bool,
    backdrops: torch.Tensor | None,
) -> torch.Tensor:
    """A box of every picture, turned, mirrored and made a square as framing does it, some before
    another background, some with a frame around the picture that was not cut off.

    Lengths are halves of sides; a picture's square reaches from -1 to 1.
    """
    n, both = len(images), 2 * drawn["shift"] - 1
    content = _extents(images) if is_letter else torch.ones(n, 2, device=images.device)
    scale = how.smallest + (1.05 - how.smallest) * drawn["scale"]
    aspect = torch.exp(math.log(how.stretch) / 2 * (2 * drawn["aspect"] - 1))
    box = content * torch.stack([scale * aspect, scale / aspect], 1)

    studio = torch.zeros_like(images[:, :1])
    rows = (drawn["background"] < how.background).nonzero()[:, 0]
    studio[rows] = _studio_background(images[rows])
    is_placed = studio.flatten(1).amax(dim=1) > 0
    shape = torch.exp(0.35 * (2 * drawn["shape"] - 1))
    room = torch.stack([shape.clamp_max(1), (1 / shape).clamp_max(1)], 1)
    room = room * (0.8 + 0.9 * drawn["place"])[:, None]
    box = torch.where(is_placed[:, None], room, box)

    has_frame = ~is_placed & (drawn["frame"] < how.frame)
    framed = content * (1.02 + 0.45 * drawn["width"] ** 2)
    box = torch.where(has_frame[:, None], framed, box)

    middle = (content - box).abs() * both
    is_turned = drawn["quarter"] < how.quarter
    quarter = torch.where(drawn["quarter"] < how.quarter / 2, -1.0, 1.0) * math.pi / 2
    angle = math.radians(how.turn) * (2 * drawn["angle"] - 1) + quarter * is_turned
    shown = torch.where(is_turned[:, None], box.flip(1), box)
    reach = shown.amax(dim=1, keepdim=True).expand(-1, 2) if is_letter else shown
    across, down, inside = _square(shown, reach, size)
    mirror = torch.where(drawn["mirror"] < 0.5, -1.0, 1.0)[:, None, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    x = (across * cos - down * sin) * mirror + middle[:, 0, None, None]
    y = across * sin + down * cos + middle[:, 1, None, None]

    grid = torch.stack([x, y], dim=3)
    layers = torch.cat([images, 1 - studio], 1)
    seen = F.grid_sample(layers, grid, padding_mode="border", align_corners=False)
    seen, front = seen[:, :3], seen[:, 3:]
    placed = is_placed.nonzero()[:, 0]
    if len(placed):
        own = {name: values[placed] for name, values in drawn.items()}
        behind = _behind(own, size, None if backdrops is None else backdrops[placed])
        seen[placed] = seen[placed] * front[placed] + behind * (1 - front[placed])
    is_beyond = (x.abs() > content[:, 0, None, None]) | (y.abs() > content[:, 1, None, None])
    corner = images[:, :, :1, :1]
    fill = torch.where(has_frame[:, None, None, None], _frame_colour(drawn), corner)
    # Beyond the content of a square with bars there is more of the bars' colour.
    has_bars = (content < 1).any(dim=1)
    beyond = is_beyond & ((has_bars & ~is_placed) | has_frame)[:, None, None]
    seen = torch.where(beyond[:, None], fill, seen)
    if not is_letter:
        return seen
    edges = _edge_colour(seen, shown / reach)
    keeps_bars = has_bars & ~is_placed & ~has_frame & (drawn["pad"] < 0.75)
    pad = torch.where(keeps_bars[:, None, None, None], corner, edges)
    return torch.where(inside[:, None], seen, pad)


def _extents(images: torch.Tensor) -> torch.Tensor:
    """How far the content of framed squares reaches: [n, 2], of half the width and half the height,
    1 where there are no bars.  Bars are lines of the corner's very colour."""
    n, _, height, width = images.shape
    is_bar = (images == images[:, :, :1, :1]).all(dim=1)
    bars = torch.stack([is_bar.all(dim=1), is_bar.all(dim=2)], 1)  # columns, rows
    lines = bars.long().cumprod(dim=2).sum(dim=2)
    lengths = torch.tensor([width, height], device=images.device)
    extents = 1 - 2 * lines / lengths
    return torch.where(extents > 0, extents, torch.ones_like(extents))


def _square(
    shown: torch.Tensor, reach: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coordinates of the pixels of squares that reach so far, [n, size, size] each of x and y, and
    which of them are inside of the boxes `shown`, [n, 2]."""
    axis = (torch.arange(size, device=shown.device) + 0.5) / size * 2 - 1
    x = (axis[None, None, :] * reach[:, 0, None, None]).expand(-1, size, -1)
    y = (axis[None, :, None] * reach[:, 1, None, None]).expand(-1, -1, size)
    return x, y, (x.abs() <= shown[:, 0, None, None]) & (y.abs() <= shown[:, 1, None, None])


def _edge_colour(images: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
    """Median along the four edges of the boxes, which reach so far: [n, 3, 1, 1]."""
    along = torch.linspace(-0.95, 0.95, EDGE_POINTS, device=images.device)
    at = torch.full_like(along, 0.985)
    edges = [(along, at), (along, -at), (at, along), (-at, along)]
    points = torch.cat([torch.stack(edge, 1) for edge in edges])
    grid = (points[None] * shown[:, None])[:, None]
    values = F.grid_sample(images, grid, mode="nearest", align_corners=False)
    return values.median(dim=3).values[..., None]


def _frame_colour(drawn: Draw) -> torch.Tensor:
    """White, nearly black or any: [n, 3, 1, 1]."""
    kind, colour = drawn["fill"][:, :1], drawn["fill"][:, 1:]
    dark = 0.12 * colour[:, :1].expand(-1, 3)
    colour = torch.where(kind < 0.45, torch.ones_like(colour), colour)
    return torch.where((kind >= 0.45) & (kind < 0.75), dark, colour)[:, :, None, None]


def _studio_background(images: torch.Tensor) -> torch.Tensor:
    """Where a studio's white background is, 0-1 [n, 1, s, s]: near white and joined to the border
    by near white, found by letting the border grow inwards."""
    if not len(images):
        return images[:, :1]
    white = (images.amin(dim=1, keepdim=True) > WHITE).float()
    small = F.interpolate(white, size=(FLOOD_SIDE, FLOOD_SIDE), mode="area")
    allowed = (small > 0.5).float()
    flood = torch.zeros_like(allowed)
    flood[:, :, [0, -1], :] = 1
    flood[:, :, :, [0, -1]] = 1
    flood *= allowed
    for _ in range(FLOOD_STEPS):
        flood = F.max_pool2d(flood, 3, 1, 1) * allowed
    # One step more at full size, so that the mask reaches the product's outline.
    grown = _enlarged(F.max_pool2d(flood, 3, 1, 1), images.shape[-2:])
    return F.avg_pool2d(grown * white, 3, 1, 1, count_include_pad=False)


def _behind(drawn: Draw, size: int, backdrops: torch.Tensor | None) -> torch.Tensor:
    """Backgrounds [n, 3, size, size]: stretches of the backdrops' borders, a third of them out of
    focus; without backdrops a coloured gradient with a texture."""
    if backdrops is None:
        texture = 0.4 * (_enlarged(drawn["texture"], (size, size)) - 0.5)
        colours = _enlarged(drawn["colours"], (size, size)) + texture
        grey = colours.mean(dim=1, keepdim=True)
        return (grey + (colours - grey) * drawn["pale"][:, None, None, None]).clamp(0, 1)
    content, stretch = _extents(backdrops), drawn["stretch"]
    half = content * (0.1 + 0.22 * stretch[:, :1])
    half = half * torch.exp(0.2 * (2 * stretch[:, 1:2] - 1) * torch.tensor([1, -1]).to(half))
    along = 2 * stretch[:, 2:4] - 1
    is_upright = torch.stack([stretch[:, 4] < 0.5, stretch[:, 4] >= 0.5], 1)
    middle = torch.where(is_upright, along.sign(), along) * (0.98 * content - half)
    maps = torch.cat([torch.diag_embed(half), middle[:, :, None]], dim=2)
    grid = F.affine_grid(maps, [len(half), 3, size, size], align_corners=False)
    seen = F.grid_sample(backdrops, grid, padding_mode="border", align_corners=False)
    blurred = _enlarged(F.interpolate(seen, size=(10, 10), mode="area"), (size, size))
    return torch.where((drawn["smooth"] < 1 / 3)[:, None, None, None], blurred, seen)


def _in_the_spotlight(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """White outside of a circle around the middle, with a soft edge."""
    axis = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    distance = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    radius = 0.7 + 0.4 * drawn["radius"][:, None, None, None]
    outside = ((distance - radius) / 0.15).clamp(0, 1)
    return images * (1 - outside) + outside


def _blurred(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    return F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 5, 1)


def _coarse(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """Reduced to one of COARSE_SIDES, half of them saved, and enlarged again."""
    result, size = images.clone(), images.shape[-2:]
    sides = (drawn["side"] * len(COARSE_SIDES)).long().clamp_max(len(COARSE_SIDES) - 1)
    for number, side in enumerate(COARSE_SIDES):
        rows = (sides == number).nonzero()[:, 0]
        if len(rows) and side < size[0]:
            small = F.interpolate(images[rows], size=(side, side), mode="area")
            own = {name: values[rows] for name, values in drawn.items()}
            small = _where(own["saved"] < 0.5, small, own, _saved)
            result[rows] = _enlarged(small, size)
    return result


def _saved(images: torch.Tensor, drawn: Draw) -> torch.Tensor:
    """As JPEG of quality 25 to 90."""
    return compressed(images, 25 + 65 * drawn["quality"])


def _lit(images: torch.Tensor, drawn: Draw, how: Strength) -> torch.Tensor:
    """In light of another colour, seven in ten; contrast, brightness and saturation changed by up
    to `light`; some without colours."""
    gains = torch.exp(math.log(how.gains) * (2 * drawn["gains"] - 1))
    gains = torch.where((drawn["cast"] < 0.7)[:, None], gains, torch.ones_like(gains))
    images = (images * gains[:, :, None, None]).clamp(0, 1)
    changes = (how.light * (2 * drawn["light"] - 1)).T[:, :, None, None, None]
    contrast, brightness, saturation = changes
    colourful = (1 + 1.5 * saturation) * (drawn["grey"] >= how.grey)[:, None, None, None]
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    grey = (images * weights).sum(dim=1, keepdim=True)
    images = grey + (images - grey) * colourful
    return ((images - 0.5) * (1 + contrast) + 0.5 + brightness / 2).clamp(0, 1)


def _enlarged(images: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)

"""Which shop and which product a picture is of, as its path says.

A shop is the first folder below the datalake, however deep the shop's pictures lie, and a product
what stands before the first `_` of a file's name, within its folder of its shop:
`data/abc.com/dresses/69_front.jpg` is a picture of product 69 of abc.com's dresses, where the
datalake is `data`.  Where nothing says which folder is the datalake, a shop is the last folder.
"""

import dataclasses
import difflib
import itertools
import os
import unicodedata
from collections.abc import Collection, Iterator
from typing import Any


@dataclasses.dataclass(frozen=True)
class ShopRule:
    """Which folder of a path is the shop."""

    datalake: str | None = None
    """The folder of the shops, as the paths spell it; paths elsewhere go by `depth`."""
    depth: int | None = None
    """The shop is the so manieth folder of a path, from 1; of paths with fewer, and with None, it
    is the last one."""

    def of_folder(self, folder: bytes) -> tuple[bytes, bytes]:
        """Of pictures in this folder the shop, and the folders below it with `/` between."""
        above = self._above
        if above is not None and folder.startswith(above):
            shop, _, below = folder[len(above) :].strip(b"/").partition(b"/")
            if shop:
                return shop, below.lstrip(b"/")
        if self.depth is not None:
            folders = [name for name in folder.split(b"/") if name]
            if len(folders) >= self.depth:
                return folders[self.depth - 1], b"/".join(folders[self.depth :])
        return folder.rstrip(b"/").rpartition(b"/")[2], b""

    def __str__(self) -> str:
        """What a shop is, for people."""
        if self.datalake is not None:
            return f"the first folder below {self.datalake}"
        return f"folder {self.depth} of a path" if self.depth else "the last folder of a path"

    def described(self, path: str) -> tuple[str, str]:
        """Shop and product of a path, for people."""
        folder, _, name = os.fsencode(path).rpartition(b"/")
        shop, below = self.of_folder(folder)
        product = name.partition(b"_")[0] or name
        return os.fsdecode(shop), os.fsdecode(below + b"/" + product if below else product)

    def as_json(self) -> dict[str, Any]:
        """What a manifest says of it; nothing of a rule that says nothing."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def _above(self) -> bytes | None:
        """What paths below the datalake begin with."""
        if self.datalake is None:
            return None
        return os.fsencode(self.datalake).rstrip(b"/") + b"/"


LAST_FOLDER = ShopRule()


def rule_of(catalogue: dict[str, Any]) -> ShopRule:
    """The rule that a version was built by, as the `catalogue` of its manifest says."""
    said = catalogue.get("shops", {})
    return ShopRule(said.get("datalake"), said.get("depth"))


def is_rule(said: object) -> bool:
    """Whether this is what a manifest may say of the rule."""
    kinds = {"datalake": str, "depth": int}
    return isinstance(said, dict) and all(
        isinstance(value, kinds.get(name, object)) for name, value in said.items()
    )


MOST_COMPARED = 2000
"""Names that the nearest one is looked for among."""


def spellings(text: str) -> list[str]:
    """A text as it is, in NFC and in NFD: systems spell names of files in one or the other."""
    forms = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    return list(dict.fromkeys([text, *forms]))


MOST_SPELLINGS = 64
"""Of a path, that are tried."""


def spellings_of_path(path: str) -> Iterator[str]:
    """The same of a path, then each of its names by itself: folders and the files in them may come
    from different systems."""
    names = itertools.product(*map(spellings, path.split("/")))
    return itertools.islice(itertools.chain(spellings(path), map("/".join, names)), MOST_SPELLINGS)


def nearest(name: str, names: Collection[str]) -> str:
    """The one of these names, of which there is at least one, that is most like another one; of
    very many those with the same first letter are looked at."""
    alike = list(names)
    if len(alike) > MOST_COMPARED:
        alike = [one for one in alike if one[:1] == name[:1]][:MOST_COMPARED] or alike[:1]
    return difflib.get_close_matches(name[:100], alike, n=1, cutoff=0.0)[0]

"""How far work has come: told by what does it, drawn by what a person looks at."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

Tell = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is."""


def nobody(what: str, done: int, total: int) -> None:
    """A `Tell` that tells nobody."""


def told(items: Iterable[Item], what: str, total: int, tell: Tell) -> Iterator[Item]:
    """The items as they are; `tell` learns of the start, and of each item that was used."""
    tell(what, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        tell(what, done, total)

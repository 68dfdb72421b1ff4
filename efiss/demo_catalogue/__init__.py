"""A made-up shop catalogue, drawn by code, to try the service on without any real data.

>>> from efiss.demo_catalogue import draw, write_catalogue
>>> picture, labels = draw(seed=0, index=12)
"""

from efiss.demo_catalogue.catalogue import CatalogueError, Summary, write_catalogue
from efiss.demo_catalogue.picture import draw
from efiss.demo_catalogue.products import ARTICLES, COLOURS, PATTERNS, Labels, label

__all__ = [
    "ARTICLES",
    "COLOURS",
    "PATTERNS",
    "CatalogueError",
    "Labels",
    "Summary",
    "draw",
    "label",
    "write_catalogue",
]

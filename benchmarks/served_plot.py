"""The picture of `benchmarks/served.py`: requests a second by the number of clients."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only
import matplotlib.pyplot as plt

TITLES = {"json": "photos as JSON", "bytes": "photos as they are"}


def plot(figures: list[dict], path: Path) -> None:
    """A column for every form; what is measured without clients is a line across.  figures: as in
    served.json."""
    forms = [form for form in TITLES if any(one["form"] == form for one in figures)]
    names = list(dict.fromkeys(one["server"] for one in figures))
    figure, axes = plt.subplots(
        1, len(forms), figsize=(4.3 * len(forms), 3.9), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for cell, form in zip(axes[0], forms, strict=True):
        for number, name in enumerate(names):
            own = [one for one in figures if (one["form"], one["server"]) == (form, name)]
            if not own:
                continue
            color = f"C{number}"
            if "median_ms" not in own[0]:
                cell.axhline(own[0]["rate"], color=color, linestyle=":", label=name)
                continue
            clients, rates = zip(*((one["clients"], one["rate"]) for one in own), strict=True)
            cell.plot(clients, rates, color=color, marker="o", label=name)
        cell.set_xscale("log", base=2)
        cell.set_ylim(bottom=0)
        cell.xaxis.set_major_formatter("{x:.0f}")
        cell.set_title(TITLES[form], fontsize=10, loc="left")
        cell.set_xlabel("clients")
        cell.grid(color="#dddddd", linewidth=0.6)
        cell.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("requests a second")
    lines, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)

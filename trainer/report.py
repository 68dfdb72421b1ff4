"""The figures of `trainer.evaluate` as text."""

from trainer.measures import MEASURES


def report(result: dict) -> str:
    """The figures as tables, about 100 columns wide, those per class first."""
    k, tables = result["k"], result["labels"]
    model = f"{result['model']['name']} ({result['model']['sha256'][:12]}…)"
    return "\n".join(
        [
            *_per_class(tables["article type"], k),
            "",
            f"{model}; two numbers: mean over queries, mean over classes",
            _heading(k),
            *(_line(name, figures) for name, figures in tables.items()),
            "article type, by other means:",
            *(_line(name, figures) for name, figures in result["article_type"].items()),
            "",
            *_another_picture(result["another_picture"], k),
            "",
            *_codes(result["codes"]),
        ]
    )


def _heading(k: int) -> str:
    names = (f"P@{k}", f"R@{k}", f"mAP@{k}", "mAP@all")
    return f"{'':30}{'queries':>8}{'gallery':>8}" + "".join(f"{name:>15}" for name in names)


def _line(name: str, figures: dict | str) -> str:
    if isinstance(figures, str):
        return f"  {name:28}  {figures}"
    values = [f"{figures['micro'][m]:9.3f}{figures['macro'][m]:6.3f}" for m in MEASURES]
    return f"  {name:28}{figures['queries']:8,}{figures['gallery']:8,}" + "".join(values)


def _per_class(figures: dict, k: int) -> list[str]:
    names = (f"P@{k}", f"R@{k}", f"mAP@{k}", "mAP@all")
    heading = f"{'article type':30}{'queries':>8}{'gallery':>8}"
    by_size = sorted(figures["per_class"].items(), key=lambda item: -item[1]["queries"])
    return [
        heading + "".join(f"{name:>9}" for name in names),
        *(
            f"  {name:28}{own['queries']:8,}{own['relevant']:8,}"
            + "".join(f"{own[m]:9.3f}" for m in MEASURES)
            for name, own in by_size
        ),
    ]


def _another_picture(table: dict, k: int) -> list[str]:
    def line(name: str, figures: dict | str) -> str:
        if isinstance(figures, str):
            return f"  {name:28}  {figures}"
        recalls = f"{figures['recall_at_1']:11.3f}{figures['recall_at_k']:11.3f}"
        return f"  {name:28}{figures['queries']:8,}{figures['gallery']:8,}{recalls}"

    heading = f"{'another picture of a product':30}{'queries':>8}{'gallery':>8}"
    return [
        heading + f"{'recall@1':>11}{f'recall@{k}':>11}",
        *(line(name, figures) for name, figures in table.items()),
    ]


def _codes(codes: dict) -> list[str]:
    bits = codes["bits"]
    name, worst = max(codes["by_article_type"].items(), key=lambda item: item[1]["largest_bucket"])
    return [
        f"codes: {codes['distinct']:,} distinct of {codes['rows']:,}, largest bucket "
        f"{codes['largest_bucket']}; within one article type at most {worst['largest_bucket']} "
        f"({name}, {worst['distinct']:,} distinct of {worst['rows']:,})",
        f"bits: share of ones worst {bits['balance_worst_share']:.3f}, mean deviation from 0.5 "
        f"{bits['balance_mean_deviation']:.3f}; entropy mean {bits['entropy_mean']:.3f}, lowest "
        f"{bits['entropy_lowest']:.3f} bits; correlation mean {bits['correlation_mean']:.3f}, "
        f"largest {bits['correlation_largest']:.3f}",
    ]

"""`efiss check`."""

from pathlib import Path

import click

from efiss.commands.options import CONFIG, DEVICE, INDEX_ROOT, default_model
from efiss.exits import REFUSED
from efiss.progress import PictureBar
from searcher.index import Index


@click.command()
@click.argument("version")
@CONFIG
@DEVICE
@click.option("--force", is_flag=True, help="Override refusals; that is recorded in the report.")
@INDEX_ROOT
def check(version: str, config: Path, device: str, force: bool, index_root: Path) -> None:
    """Judge a version before it goes live, beside the one that is live now.

    Its checksums are verified, a sample of its pictures is hashed again and must find itself, and
    rows, codes, what the same queries find and how fast are compared. The report is stored in the
    version. Beyond a threshold of the section [check] it is refused (exit code 4), and `efiss
    activate` refuses it as well, until --force of either overrides that. The live version is
    compared with the one before. Relative paths are looked for from the current folder.

    \b
    Example:
      efiss check 1.6.0
    """
    import torch

    from indexer import judge, live_model
    from searcher import report as reports

    torch.set_num_threads(1)  # the workers are the parallelism
    thresholds = judge.read_thresholds(config)
    index = Index(index_root)
    with index.holding(version):
        with PictureBar("hashing again") as bar:
            report = judge.judge(index, version, thresholds, device, bar.show)
        if force:
            report = reports.force(index, version) or report
    if report.model_change is None and (hint := live_model.hint(index, default_model())):
        click.echo(hint)
    click.echo(table(report))
    if report.verdict == reports.REFUSED:
        raise SystemExit(REFUSED)


def table(report) -> str:
    """A report as lines for a terminal."""
    from searcher.report import shown

    rows = [("", report.version, report.against or "–", "limit")] + [
        (
            measure.name,
            shown(measure.value, measure.unit),
            shown(measure.against, measure.unit),
            (measure.limit or "") + (" REFUSED" if measure.refused else ""),
        )
        for measure in report.measures
    ]
    lines = [f"{a:28}{b:>14}{c:>14}  {d}".rstrip() for a, b, c, d in rows]
    if report.model_change:
        lines.append(report.model_change)
    verdict = f"version {report.version}: {report.verdict}"
    if report.forced:
        verdict += f" on {report.forced}"
    return "\n".join([*lines, verdict, *(f"  {sentence}" for sentence in report.refusals)])

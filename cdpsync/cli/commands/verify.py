"""`verify`: whether the lake has what the sources have."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdpsync.cli.commands.run import PARTIAL, Select
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import ReportFormat, Session, command
from cdpsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdpsync.model.verification import Sample, VerifyResult

DIFFERENT = 5


@command(ReportFormat)
def verify(
    session: Session,
    select: Select = None,
    sample: Annotated[
        str | None,
        typer.Option("--sample", metavar="N|P%", help="Only about N rows of each table, or P %."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Read rows that are in error again, and commit them.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Chunks read at once.")
    ] = None,
) -> int:
    """Compare the lake with its sources, row by row; exit 5 where they differ."""
    from cdpsync import verify as verification
    from cdpsync.cli.output import reports

    verdicts = verification.verify(
        session.config(),
        tuple(select or ()),
        sample=_sample(sample),
        repair=repair,
        threads=threads,
        on_result=_tell,
    )
    show(reports.verify_report(verdicts), session.format)
    return _exit(verdicts)


def _tell(verdict: "VerifyResult") -> None:
    for notice in verdict.notices:
        log.warn(f"{verdict.table}: {notice}", event="notice", table=str(verdict.table))
    fields: dict[str, Any] = {  # Any: the keywords of a narration
        "event": "verified",
        "table": str(verdict.table),
        "status": verdict.status.value,
    }
    if verdict.error:
        log.error(f"{verdict.table}: {verdict.error.message}", **fields)
    elif verdict.compared:
        told = f"{verdict.table}  {verdict.status}  {verdict.compared.wrong:,} rows differ"
        log.info(told, **fields, wrong=verdict.compared.wrong, repaired=verdict.repaired)


def _sample(text: str | None) -> "Sample | None":
    """Read `1000` or `5%`. Raises ConfigError."""
    from cdpsync.model.verification import Sample

    if text is None:
        return None
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text)
    if percent and 0 < float(percent[1]) <= 100:
        return Sample(percent=float(percent[1]))
    if text.isascii() and text.isdigit() and int(text):
        return Sample(rows=int(text))
    raise ConfigError(f'--sample: "{text}" is neither a number of rows (1000) nor a share (5%).')


def _exit(verdicts: "Sequence[VerifyResult]") -> int:
    """Return 5 for a difference that is left, else as `run` does for what failed."""
    statuses = [verdict.status.value for verdict in verdicts]
    if "different" in statuses:
        return DIFFERENT
    failed = statuses.count("failed")
    return 0 if not failed else 1 if failed == len(statuses) else PARTIAL

"""The command `verify`: compares the lake with its sources."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdpsync.cli.commands.run import PARTIAL, Select
from cdpsync.cli.formats import ReportFormat
from cdpsync.cli.options import command
from cdpsync.cli.output import log
from cdpsync.cli.output.report import show
from cdpsync.cli.session import Session
from cdpsync.errors import ConfigError
from cdpsync.serialize.text import with_table

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
        bool, typer.Option("--repair", help="Read rows that differ again, and commit them.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Chunks read at once.")
    ] = None,
) -> int:
    """Compare the lake with its sources, row by row; exit 5 where they differ."""
    from cdpsync import verify as verification
    from cdpsync.cli.output import reports

    results = verification.verify(
        session.config(),
        tuple(select or ()),
        sample=_sample(sample),
        repair=repair,
        threads=threads,
        on_result=_log_result,
    )
    show(reports.verify_report(results), session.format)
    return _exit_code(results)


def _log_result(result: "VerifyResult") -> None:
    for notice in result.notices:
        log.warn(f"{result.table}: {notice}", event="notice", table=str(result.table))
    fields: dict[str, Any] = {  # Any: the keywords of a log line
        "event": "verified",
        "table": str(result.table),
        "status": result.status.value,
    }
    if result.error:
        log.error(with_table(result.table, result.error.message), **fields)
    elif result.compared:
        message = f"{result.table}  {result.status}  {result.compared.wrong:,} rows differ"
        log.info(message, **fields, wrong=result.compared.wrong, repaired=result.repaired)


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


def _exit_code(results: "Sequence[VerifyResult]") -> int:
    """Return 5 if a table still differs, else as `run` does for tables that failed."""
    statuses = [result.status.value for result in results]
    if "different" in statuses:
        return DIFFERENT
    failed, left_out = statuses.count("failed"), any(result.is_left_out for result in results)
    if not failed and not left_out:
        return 0
    return 1 if failed == len(statuses) else PARTIAL

"""``make soak``: 10 minutes of mixed traffic; ``SOAK_SECONDS=60 make soak`` is a quick one.

Prints a table and the verdict, writes both to soak.json beside where it was called, and exits with 1 where something
is wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.soak.run import Report, Size, soak


def main() -> int:
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    with tempfile.TemporaryDirectory(prefix="hubbridge-soak-") as folder:
        report = asyncio.run(soak(Path(folder), seconds, Size()))
    Path("soak.json").write_text(json.dumps(report.as_json(), indent=2))
    show(report)
    return 1 if report.wrong else 0


def show(report: Report) -> None:
    print(f"{'request':<10}{'answers':>9}{'429/503':>9}{'other 5xx':>11}{'median':>10}{'95 %':>10}{'99 %':>10}")
    for row in report.rows:
        times = "".join(f"{value * 1000:>7.0f} ms" for value in (row.median, row.p95, row.p99))
        print(f"{row.kind:<10}{row.answers:>9}{row.busy:>9}{row.failed:>11}{times}")
    print(f"\n{report.seconds:.0f} s; {report.jobs} jobs with {report.frames} frames done and checked. Besides:")
    for what, count in report.done.items():
        print(f"{count:>6} x {what}")
    if report.recovered_s:
        print(
            f"after a flood or a crowd a prediction was answered within {max(report.recovered_s):.1f} s at the latest"
        )
    for name, state in (("before", report.before), ("after", report.after)):
        held, kept = state.held, state.kept
        print(
            f"{name:>7}: {held.memory_mb:.0f} MB, {held.files} open files, {held.threads} threads; on the disk "
            f"{kept.database_mb:.1f} MB of database with {sum(kept.rows.values())} rows, {kept.files} files of tasks, "
            f"{kept.leftovers} left-over files, {kept.log_lines} lines of log"
        )
    print(f" memory: {report.slope:+.1f} MB a minute over the second half; by the minute, in MB:", *report.minutes)
    for text in report.wrong:
        print(f"  WRONG: {text}", file=sys.stderr)
    print("nothing is wrong" if not report.wrong else f"{len(report.wrong)} things are wrong")


if __name__ == "__main__":
    sys.exit(main())

"""``make soak``: 10 minutes of mixed traffic; ``SOAK_SECONDS=60 make soak`` is a quick one.

Prints a table and the verdict, writes soak.json beside where it was called, and exits with 1 where something is wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.soak.run import Report, soak


def main() -> int:
    seconds = float(os.environ.get("SOAK_SECONDS", "600"))
    with tempfile.TemporaryDirectory(prefix="hubbridge-soak-") as folder:
        report = asyncio.run(soak(Path(folder), seconds))
    Path("soak.json").write_text(json.dumps(report.as_json(), indent=2))
    show(report)
    return 1 if report.wrong else 0


def show(report: Report) -> None:
    print(f"{'request':<10}{'answers':>9}{'429/503':>9}{'5xx':>6}{'median':>10}{'95 %':>10}{'99 %':>10}")
    for row in report.rows:
        times = "".join(f"{value * 1000:>7.0f} ms" for value in (row.median, row.p95, row.p99))
        print(f"{row.kind:<10}{row.answers:>9}{row.busy:>9}{row.failed:>6}{times}")
    print(
        f"\n{report.seconds:.0f} s; {report.jobs} jobs with {report.frames} frames checked, none of them lost a frame"
    )
    for name, held in (("before", report.before), ("after", report.after)):
        print(f"{name:>7}: {held.memory_mb:.0f} MB, {held.files} open files, {held.threads} threads")
    print(f" memory: {report.slope:+.1f} MB a minute over the second half")
    for text in report.wrong:
        print(f"  WRONG: {text}", file=sys.stderr)
    print("nothing is wrong" if not report.wrong else f"{len(report.wrong)} things are wrong")


if __name__ == "__main__":
    sys.exit(main())

"""All speed benchmarks: prints their tables and writes JSON to benchmarks/results/.

    python -m benchmarks [--quick] [--even-if-disturbed] [--json FILE]

Where other programs take more than a tenth of the machine, nothing is reported, and the exit status is 3: figures of
a disturbed run say more about the neighbours. ``--even-if-disturbed`` reports all the same, and says so.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks import cvat_tasks, hosted, label_studio, ledger, local_models, online, precision, preprocessing
from benchmarks.machine import MOST_OTHERS, Table, Watch, describe, save

LOOK_S = 2.0


def benchmarks(quick: bool) -> dict[str, Callable[[], Awaitable[list[Table]]]]:
    """Name -> what measures it."""

    async def one(table: Awaitable[Table]) -> list[Table]:
        return [await table]

    async def preparation() -> Table:
        return preprocessing.measure(1 if quick else 5)

    return {
        "ledger": lambda: one(ledger.measure(5_000 if quick else 100_000)),
        "hosted": lambda: one(hosted.measure(320 if quick else 3200)),
        "online": lambda: one(online.measure()),
        "label_studio": lambda: one(label_studio.table(quick)),
        "cvat_tasks": lambda: one(cvat_tasks.measure(36 if quick else 200, 1 if quick else 3)),
        "local_models": lambda: local_models.tables(1 if quick else 5, yolos=True, quick=quick),
        "precision": lambda: one(precision.measure(10 if quick else 60)),
        "preprocessing": lambda: one(preparation()),
    }


async def measure(quick: bool) -> tuple[list[Table], list[str]]:
    """The tables, and the names of the benchmarks that failed: an hour's run is not lost by one of them."""
    tables: list[Table] = []
    failed = []
    for name, run in benchmarks(quick).items():
        started = time.monotonic()
        try:
            tables += await run()
        except Exception:  # noqa: BLE001  (whatever it is, it is shown)
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return tables, failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer frames and one round: whether it runs, not how fast"
    )
    parser.add_argument("--even-if-disturbed", action="store_true", help="report though other programs run")
    parser.add_argument("--json", type=Path, help="file to write; by default a new one in benchmarks/results/")
    given = parser.parse_args()
    machine = describe()
    watch = Watch().start()
    time.sleep(LOOK_S)
    before = watch.others
    if before > MOST_OTHERS and not given.even_if_disturbed:
        return _refuse(before)
    tables, failed = asyncio.run(measure(given.quick))
    worst = max((table.others for table in tables), default=0.0)
    if worst > MOST_OTHERS and not given.even_if_disturbed:
        return _refuse(worst)
    for table in tables:
        table.show()
    if worst > MOST_OTHERS:
        print(
            f"\nDisturbed: other programs took up to {worst:.0%} of the machine. Only ratios within a table tell much."
        )
    print(f"\nWritten: {save(tables, machine, given.json)}")
    if failed:
        print(f"Failed, and missing above: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _refuse(others: float) -> int:
    print(
        f"Other programs take {others:.0%} of the machine; nothing is reported. "
        "End them, or use --even-if-disturbed to see the figures all the same.",
        file=sys.stderr,
    )
    return 3


if __name__ == "__main__":
    sys.exit(main())

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
from pathlib import Path

from benchmarks import cvat_tasks, hosted, label_studio, ledger, local_models, online, precision, preprocessing
from benchmarks.machine import MOST_OTHERS, Table, Watch, describe, save

LOOK_S = 2.0


async def measure(quick: bool) -> list[Table]:
    tables = [await ledger.measure(5_000 if quick else 100_000)]
    tables.append(await hosted.measure(320 if quick else 3200))
    tables.append(await online.measure())
    tables.append(await label_studio.table(quick))
    tables.append(await cvat_tasks.measure(36 if quick else 200, 1 if quick else 3))
    tables += await local_models.tables(1 if quick else 5, yolos=True, quick=quick)
    tables.append(await precision.measure(10 if quick else 60))
    tables.append(preprocessing.measure(1 if quick else 5))
    return tables


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
    tables = asyncio.run(measure(given.quick))
    worst = max(table.others for table in tables)
    if worst > MOST_OTHERS and not given.even_if_disturbed:
        return _refuse(worst)
    for table in tables:
        table.show()
    if worst > MOST_OTHERS:
        print(
            f"\nDisturbed: other programs took up to {worst:.0%} of the machine. Only ratios within a table tell much."
        )
    print(f"\nWritten: {save(tables, machine, given.json)}")
    return 0


def _refuse(others: float) -> int:
    print(
        f"Other programs take {others:.0%} of the machine; nothing is reported. "
        "End them, or use --even-if-disturbed to see the figures all the same.",
        file=sys.stderr,
    )
    return 3


if __name__ == "__main__":
    sys.exit(main())

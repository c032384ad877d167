"""How a model that runs here is best fed: workers, threads of each, and frames of a batch, measured once.

No constant is right: on two cores one small detector ran twice as fast with two workers of one thread each as with
one of two, and another one was slower in batches of 8 than one by one.
"""

from __future__ import annotations

import hashlib
import json
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from adapters.processor import processor_name, usable_cores

WINDOW_S = 0.1  # of one measurement; a slow model is measured by one call of each worker
ROUNDS = 2
ENOUGH_S = 2.0  # a first round that took longer is trusted
LONGEST_S = 1.0  # larger batches that would take longer are not tried: calls so long have little to gain
CLEARLY = 1.1  # how much faster larger batches have to be
MORE_WORKERS = 1.03  # and more workers: in a job each does its own work before and after the pass beside the others'


@dataclass(frozen=True, slots=True, order=True)
class Pace:
    """``workers`` run the model at once, each with ``threads`` threads and on ``batch`` frames."""

    workers: int
    threads: int
    batch: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The pace chosen, and its frames per second as they were measured."""

    pace: Pace
    frames_per_second: float


def candidates(cores: int, most: int, *, on_cpu: bool) -> list[Pace]:
    """What is tried, those that need least memory first. Beside a processor (a GPU) one worker feeds the model."""
    forms = [(1, cores), (cores, 1)] if on_cpu else [(1, 1)]
    if on_cpu and cores >= 4:
        forms.insert(1, (2, cores // 2))
    batches = sorted({1, min(4, most), most})
    return [Pace(workers, threads, batch) for batch in batches for workers, threads in dict.fromkeys(forms)]


def measure(tried: Sequence[Pace], set_threads: Callable[[int], None], run: Callable[[int], object]) -> Measured | None:
    """The fastest of ``tried``, or a more modest one that is nearly as fast; None where all of them fail.

    ``run`` takes a number of frames and blocks for one call over so many; it is called in several threads.
    ``set_threads`` is called while nothing runs, and last with the threads of the pace that is chosen. All together
    takes about two seconds, and six calls where one takes longer than half a second.
    """
    best: dict[Pace, float] = {}
    failed: set[Pace] = set()
    by_threads = sorted(tried, key=lambda pace: (pace.threads, pace.batch))  # changing threads can mean loading anew
    started = time.perf_counter()
    for number in range(ROUNDS):  # the better of two: other programs disturb, and none of them makes it faster
        if number and time.perf_counter() - started > ENOUGH_S:
            break
        for pace in by_threads:
            frames = 2 * pace.batch * pace.workers
            if pace in failed or (pace.batch > 1 and best and frames / max(best.values()) > LONGEST_S):
                continue
            set_threads(pace.threads)
            try:
                speed = _speed(pace, run)
            except Exception:  # noqa: BLE001  (out of memory, or a graph for one batch size: another pace may do)
                failed.add(pace)
                continue
            best[pace] = max(best.get(pace, 0.0), speed)
    usable = [pace for pace in tried if pace in best and pace not in failed]
    if not usable:
        return None
    chosen = _chosen({pace: best[pace] for pace in usable})
    set_threads(chosen.threads)
    return Measured(chosen, best[chosen])


def _chosen(speeds: Mapping[Pace, float]) -> Pace:
    """The smallest batch that is nearly as fast as the fastest pace, and for it the fewest workers that are."""
    fastest = max(speeds.values())
    batch = min(pace.batch for pace, speed in speeds.items() if speed * CLEARLY >= fastest)
    alike = {pace: speed for pace, speed in speeds.items() if pace.batch == batch}
    return min(pace for pace, speed in alike.items() if speed * MORE_WORKERS >= max(alike.values()))


def _speed(pace: Pace, run: Callable[[int], object]) -> float:
    """Frames per second with all workers busy, after one call that warms up. Raises what ``run`` raises."""
    run(pace.batch)
    done, errors = [0] * pace.workers, list[BaseException]()
    started = time.perf_counter()

    def work(worker: int) -> None:
        try:
            while done[worker] == 0 or time.perf_counter() - started < WINDOW_S:
                run(pace.batch)
                done[worker] += pace.batch
        except Exception as error:  # noqa: BLE001  (raised below, in the caller's thread)
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(pace.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return sum(done) / (time.perf_counter() - started)


def remembered(folder: Path, key: Sequence[str], make: Callable[[], Measured | None]) -> Measured | None:
    """What was measured before for this key (the model, what runs it) on this machine, or else ``make``'s answer."""
    names = (*key, platform.machine(), processor_name(), str(usable_cores()), str(WINDOW_S))
    path = folder / f"{hashlib.sha256('|'.join(names).encode()).hexdigest()[:32]}.json"
    try:
        content = json.loads(path.read_text("utf-8"))
        return Measured(Pace(**content["pace"]), float(content["frames_per_second"]))
    except (OSError, ValueError, KeyError, TypeError):
        found = make()
    if found is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(found)), "utf-8")
        except OSError:  # measured again next time
            pass
    return found

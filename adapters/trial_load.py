"""A graph is loaded and run once by a process of its own, which may use so much memory and so much time.

A file of 200 bytes can ask for a hundred gigabytes: engines compute what depends on no input while they load a graph.
What ends that process is refused, and the service has never seen it. Files are pinned by their hashes, so one trial,
when a model is added, is enough.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from adapters.errors import Unsupported
from adapters.graph_session import Port, Session

MOST_BYTES = 4 * 2**30  # of memory, beside the weights
COPIES = 4  # of the weights: the file, what is parsed of it, and what engines make of that
SPARE_BYTES = 2**30  # what an engine was denied that came no nearer than this to the bound, it did not need
MOST_S = 600.0
_SIDE = 640  # pixels of an open side
_TOO_MUCH, _BROKEN = 3, 4
_tried: set[str] = set()  # digests


def try_loading(path: Path) -> None:
    """Raises Unsupported where a graph (.onnx, or .xml with its .bin) needs too much memory or time, or ends the
    process that loads it. Other errors are for those to tell who load it next. Blocks."""
    digest = _digest(path)
    if digest in _tried:
        return
    most = MOST_BYTES + COPIES * sum(each.stat().st_size for each in _files(path))
    try:
        run = subprocess.run(  # noqa: S603
            [sys.executable, "-P", "-m", "adapters.trial_load", str(path.absolute()), str(most)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MOST_S,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each of its threads would take memory
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refusal(path, f"does not load and run within {MOST_S:.0f} s") from error
    if run.returncode == _TOO_MUCH:
        raise _refusal(path, f"needs more than {most / 2**30:.1f} GB of memory to load and run")
    if run.returncode < 0:  # by a signal: the engine crashed, or the system needed the memory
        raise _refusal(path, f"ended the process that loaded it (signal {-run.returncode})")
    if run.returncode == 0:
        _tried.add(digest)


def _refusal(path: Path, what: str) -> Unsupported:
    hint = "Graphs may not compute large constants; export the model anew, with constants folded."
    return Unsupported(f"{path.name} {what}.", hint=hint)


def _files(path: Path) -> Sequence[Path]:
    """The graph and what may hold its weights beside it: as exporters name it, with a suffix or ``_data`` behind."""
    names = (f"{path.stem}.", f"{path.name}_")
    return [each for each in path.parent.iterdir() if each.name.startswith(names) and each.is_file()]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for each in sorted(_files(path)):
        if each == path or each.suffix != ".json":
            with each.open("rb") as file:
                digest.update(f"{each.name[len(path.stem) :]} {each.stat().st_size}\n".encode())
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _try(path: Path) -> list[Exception]:
    """In every engine that may run the file later; what each of them raised."""
    from adapters.openvino_session import OpenvinoSession, installed  # noqa: PLC0415  (heavy)

    engines: list[Callable[[Path], Session]] = [OpenvinoSession] if installed() else []
    if path.suffix.lower() != ".xml":
        from adapters.onnx_session import OnnxSession  # noqa: PLC0415  (heavy)

        engines.insert(0, OnnxSession)
    raised = []
    for load in engines:
        try:
            _run(load(path))
        except Exception as error:  # noqa: BLE001  (those of engines have no base of their own)
            raised.append(error)
    return raised


def _run(session: Session) -> None:
    feed = {port.name: np.ones(_sides(port), port.type) for port in session.inputs}
    session.run([port.name for port in session.outputs], feed)
    session.close()


def _sides(port: Port) -> tuple[int, ...]:
    """A picture's, with or without its channels first; of other inputs, one row."""
    first_channels = len(port.shape) == 4 and port.shape[3] not in (1, 3)
    usual = {0: 1, 1: 3} if first_channels else {0: 1}
    return tuple(side or usual.get(i, _SIDE) for i, side in enumerate(port.shape))


def _main(path: Path, most: int) -> int:
    from adapters.local import is_out_of_memory  # noqa: PLC0415

    limited = _limit_memory(most + SPARE_BYTES)
    raised = _try(path)
    if any(is_out_of_memory(error) for error in raised) or (limited and _peak_bytes() > most):
        return _TOO_MUCH
    return _BROKEN if raised else 0


def _limit_memory(size: int) -> bool:
    """Of this process, in bytes; whether the system knows such limits. Where memory runs out, this process goes."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  (not on every system)

        resource.setrlimit(resource.RLIMIT_DATA, (size, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        return True
    return False


def _peak_bytes() -> int:
    """An engine that was denied memory for something may go on without it, and would take it where there is more.

    On Linux ``ru_maxrss`` is handed on from the process that started this one; ``VmHWM`` is of this program alone.
    """
    with suppress(OSError, IndexError):
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 2**10
    import resource  # noqa: PLC0415  (not on every system)

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), int(sys.argv[2])))

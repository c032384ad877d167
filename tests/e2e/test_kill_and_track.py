"""kill -9 while a job links its shapes: after resume the tracks are those of a job that nothing disturbed."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGES, MODEL, Program
from tests.e2e.test_kill_and_resume import query

FRAMES = 12
# The program, but it kills itself behind some transactions of its last step, which are made small.
DYING = """
import os, signal, sys
from bridge import linking
from bridge.store import shapes

real, left = shapes.set_tracks, int(sys.argv.pop(1))

async def set_tracks(*given):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    await real(*given)

shapes.set_tracks, linking.CHUNK = set_tracks, 5
from bridge.cli.__main__ import main
main()
"""


@dataclass
class DyingProgram(Program):
    chunks: int = 0

    def _command(self, arguments: Sequence[object]) -> list[str]:
        return [sys.executable, "-c", DYING, str(self.chunks), *map(str, arguments)]


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene on many frames: whatever is found there is a track over all of them."""
    folder = tmp_path_factory.mktemp("still")
    for number in range(FRAMES):
        shutil.copy(sorted(IMAGES.glob("*.jpg"))[0], folder / f"{number:03d}.jpg")
    return folder


def prepared(program: Program, images: Path) -> None:
    program.run("model", "add", MODEL, "--name", "street")
    program.run("task", "create", "still", images, "--labels", "car,bus,truck,person,bicycle,tree")


def tracks(program: Program) -> list[tuple[object, ...]]:
    return query(program, "SELECT frame, label_id, track_id FROM shapes ORDER BY frame, label_id, track_id")


def test_a_job_that_is_killed_while_it_links_ends_as_one_that_was_not(
    new_program: Callable[..., Program], still: Path
) -> None:
    calm, troubled = new_program(), new_program()
    prepared(calm, still)
    calm.run("job", "start", "still", "--model", "street", "--track")
    prepared(troubled, still)
    troubled.run("job", "start", "still", "--model", "street", "--track", "--queue")
    for chunks in (0, 1, 3):
        dying = DyingProgram(troubled.data_dir, troubled.variables, chunks)
        process = dying.start("job", "resume", "1")
        _, err = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, err
        assert query(troubled, "SELECT state, frames_done FROM jobs") == [("running", FRAMES)]
        assert sum(track != 0 for *_, track in tracks(troubled)) == 5 * chunks
    expected = tracks(calm)
    assert tracks(troubled) != expected  # half done: there was something to lose
    troubled.run("job", "resume", "1")
    assert query(troubled, "SELECT state, frames_done FROM jobs") == [("succeeded", FRAMES)]
    assert tracks(troubled) == expected
    lengths = [sum(track == number for *_, track in expected) for number in {track for *_, track in expected} - {0}]
    assert lengths == [FRAMES] * len(lengths) and lengths
    assert query(troubled, "SELECT COUNT(*), COUNT(DISTINCT frame) FROM results") == [(FRAMES, FRAMES)]

"""kill -9 at 20 random moments, each followed by resume, ends as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGES, MODEL, Program

KILLS = 20
COPIES = 24  # of the 16 example images: work enough to be interrupted so often

# Small batches and short transactions: many moments at which a kill can fall between two of them.
VARIABLES = {"HUBBRIDGE_JOBS__BATCH_SIZE": "2", "HUBBRIDGE_JOBS__COMMIT_MS": "2", "HUBBRIDGE_JOBS__COMMIT_FRAMES": "3"}


@pytest.fixture(scope="module")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for image in sorted(IMAGES.glob("*.jpg")):
        for copy in range(COPIES):
            shutil.copy(image, folder / f"{image.stem}_{copy:02d}.jpg")
    return folder


def query(program: Program, sql: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{program.data_dir / 'hubbridge.db'}?mode=ro", uri=True, timeout=60) as connection:
        return connection.execute(sql).fetchall()


def shapes(program: Program) -> list[tuple[object, ...]]:
    return query(
        program,
        "SELECT shapes.frame, labels.name, shapes.points FROM shapes JOIN labels ON labels.id = shapes.label_id "
        "WHERE removed_by IS NULL ORDER BY shapes.frame, shapes.id",
    )


def prepared(program: Program, images: Path) -> None:
    program.run("model", "add", MODEL, "--name", "street")
    program.run("task", "create", "streets", images, "--labels", "car,bus,truck,person,bicycle,tree")


def kill_once(program: Program, arguments: tuple[str, ...], rng: random.Random) -> bool:
    """Start the command, let some frames come, kill -9 at a random moment; False where it had ended before."""
    before = done_frames(program)
    process = program.start(*arguments)
    wanted = before + rng.randrange(0, 12)
    while process.poll() is None and done_frames(program) < wanted:
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.15))
    running = process.poll() is None
    process.kill()
    process.communicate()
    return running


def done_frames(program: Program) -> int:
    rows = query(program, "SELECT COALESCE(SUM(frames_done), 0) FROM jobs")
    count = rows[0][0]
    assert isinstance(count, int)
    return count


def test_twenty_kills_leave_one_result_per_frame_and_the_undisturbed_annotations(
    new_program: Callable[..., Program], many_images: Path
) -> None:
    calm, troubled = new_program(), new_program(**VARIABLES)
    prepared(calm, many_images)
    calm.run("job", "start", "streets", "--model", "street")
    prepared(troubled, many_images)
    troubled.run("job", "start", "streets", "--model", "street", "--queue")

    rng = random.Random(20)
    kills = 0
    for _ in range(KILLS):
        kills += kill_once(troubled, ("job", "resume", "1"), rng)
    assert kills == KILLS
    frames = len(list(many_images.iterdir()))
    assert 0 < done_frames(troubled) < frames
    troubled.run("job", "resume", "1")

    job = troubled.json("job", "show", "1")["job"]
    assert (job["state"], job["frames_done"], job["frames_failed"]) == ("succeeded", frames, 0)
    states = Counter(row[0] for row in query(troubled, "SELECT state FROM job_frames"))
    assert states == {"done": frames}
    assert query(troubled, "SELECT COUNT(*), COUNT(DISTINCT frame) FROM results") == [(frames, frames)]
    expected, actual = shapes(calm), shapes(troubled)
    assert len(expected) > frames
    assert job["shapes_created"] == len(actual)
    assert [row[:2] for row in actual] == [row[:2] for row in expected]
    for (*_, one), (*_, other) in zip(actual, expected, strict=True):
        assert coordinates(one) == pytest.approx(coordinates(other), abs=0.01)


def coordinates(points: object) -> list[float]:
    assert isinstance(points, bytes)
    return list(memoryview(points).cast("d"))


def test_ctrl_c_ends_cleanly_and_resume_completes(program: Program, many_images: Path) -> None:
    program.variables.update(VARIABLES)
    prepared(program, many_images)
    process = program.start("job", "start", "streets", "--model", "street")
    deadline = time.monotonic() + 300
    while done_frames(program) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "hubbridge job resume 1" in out
    assert "Traceback" not in err
    frames = len(list(many_images.iterdir()))
    assert done_frames(program) < frames
    program.run("job", "resume", "1")
    assert done_frames(program) == frames

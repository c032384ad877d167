"""The commands of the tutorial and of the guide to the REST API do what stands below them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import pytest

from tests.e2e.server import ServerProcess

ROOT = Path(__file__).parents[2]


def commands_of(page: Path) -> list[tuple[str, str]]:
    """(command, what it prints) in the page's order; ``...`` in an output stands for anything."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


def says(documented: str, printed: str) -> bool:
    """Whether the output is as documented, with runs of white space as one space."""
    pieces = [re.escape(" ".join(piece.split())) for piece in documented.split("...")]
    return re.fullmatch(r"\s*" + r".*?".join(rf"{piece}\s*" for piece in pieces), " ".join(printed.split())) is not None


def run_page(page: Path, folder: Path, environment: Mapping[str, str], replace: Mapping[str, str]) -> int:
    """Run every command of a page in one shell and compare what each prints; the number of commands."""
    (folder / "examples").symlink_to(ROOT / "examples")
    commands = commands_of(page)
    script = "set -e\n"
    for number, (command, _) in enumerate(commands):
        for documented, real in replace.items():
            command = command.replace(documented, real)  # noqa: PLW2901
        script += f"{{\n{command}\n}} > out-{number} 2> err-{number} < /dev/null\n"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HUBBRIDGE_")}
    variables |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "HUBBRIDGE_MODELS__OFFLINE": "true", **environment}
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    ran = subprocess.run(["bash", "-c", script], cwd=folder, env=variables, check=False, timeout=120)
    for number, (command, documented) in enumerate(commands):
        out = folder / f"out-{number}"
        assert out.exists(), f"not run: {command}"
        printed = out.read_text()
        shown = f"$ {command}\n{printed}\n{(folder / f'err-{number}').read_text()}"
        assert says(documented, printed) if documented else True, shown
    assert ran.returncode == 0, shown
    return len(commands)


def test_the_tutorial(tmp_path: Path) -> None:
    assert run_page(ROOT / "docs/tutorial.md", tmp_path, {}, {}) >= 9
    assert (tmp_path / "tutorial/previews/overview.jpg").stat().st_size > 10_000
    assert (tmp_path / "tutorial/street.json").exists()
    assert (tmp_path / "tutorial/street-yolo.zip").exists()


def test_large_images_and_regions(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/large-images-and-regions.md"
    assert run_page(page, tmp_path, {"HUBBRIDGE_STORAGE__DATA_DIR": str(tmp_path / "data")}, {}) >= 7
    assert (tmp_path / "tried/overview.jpg").stat().st_size > 10_000


def test_videos(tmp_path: Path) -> None:
    clip(tmp_path / "clip.mp4")
    page = ROOT / "docs/how-to/videos.md"
    assert run_page(page, tmp_path, {"HUBBRIDGE_STORAGE__DATA_DIR": str(tmp_path / "data")}, {}) >= 5
    tracks = ElementTree.parse(tmp_path / "clip.xml").findall("track")
    seen = [sum(box.get("outside") == "0" for box in track) for track in tracks]
    assert max(seen) >= 20  # of 24 frames
    assert (tmp_path / "part.zip").exists()


def clip(path: Path) -> None:
    """A street that moves to the left, 3 pixels a frame, for 48 frames."""
    picture = cv2.imread(str(ROOT / "examples/street/images/street_00.jpg"))[..., ::-1]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        for number in range(48):
            shifted = np.ascontiguousarray(np.roll(picture, -3 * number, axis=1))
            for packet in stream.encode(av.VideoFrame.from_ndarray(shifted, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)


def test_annotating_over_http(tmp_path: Path) -> None:
    curl = shutil.which("curl")
    helped = subprocess.run([curl, "--help", "all"], capture_output=True, text=True, check=False) if curl else None
    if helped is None or "--json" not in helped.stdout:
        pytest.skip("needs curl 7.82 or newer")
    (tmp_path / "server").mkdir()
    folders = {"HUBBRIDGE_SERVER__SERVER_FOLDERS": str(ROOT / "examples")}
    with ServerProcess(tmp_path / "server", environment=folders) as server:
        replace = {"http://127.0.0.1:8090": server.url, "$PWD/examples": str(ROOT / "examples")}
        assert run_page(ROOT / "docs/how-to/annotate-over-http.md", tmp_path, {}, replace) >= 8
    assert (tmp_path / "street.json").stat().st_size > 100


@pytest.mark.parametrize(
    ("documented", "printed", "alike"),
    [
        ("Wrote ... shapes.", "Wrote 12 shapes.", True),
        ("Wrote ... shapes.", "Wrote 12 pictures.", False),
        ("...\na ... b\n...", "x\na   1 b\ny", True),
        ("a", "a b", False),
        ("...", "", True),
    ],
)
def test_how_outputs_are_compared(documented: str, printed: str, alike: bool) -> None:
    assert says(documented, printed) is alike

"""Files of every format with a few words in them changed: read or refused with a reason, never anything else."""

from __future__ import annotations

import random
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import formats
from bridge.errors import BridgeError
from tests.unit.bridge.annotated import ALL, LABELS, frame
from tests.unit.bridge.written import write_file

WORDS = (
    b"nan",
    b"1e999",
    b"-1",
    b"9" * 30,
    b"",
    b"\xff",
    b"x",
    b"<a>",
    b"0",
    b"1 2 3",
    b"\xf0\x9f\x98\x80",
    b"\\ud800",
)


def files_of(written: Path) -> dict[str, bytes]:
    if written.is_dir():
        return {str(path.relative_to(written)): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    if zipfile.is_zipfile(written):
        with zipfile.ZipFile(written) as archive:
            return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    return {"": written.read_bytes()}


def damaged(files: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """With one to three words of a file, or stretches of its bytes, replaced."""
    name = chance.choice([name for name, body in files.items() if body])
    body = files[name]
    for _ in range(chance.randint(1, 3)):
        words = [match.span() for match in re.finditer(rb"[\w.\-]+", body)]
        anywhere = sorted((chance.randrange(len(body) + 1), chance.randrange(len(body) + 1)))
        start, end = chance.choice(words) if words and chance.random() < 0.8 else anywhere
        body = body[:start] + chance.choice(WORDS) + body[end:]
    return {**files, name: body}


@pytest.mark.parametrize("name", formats.FORMATS)
@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_read_or_refused(tmp_path: Path, name: str, seed: int) -> None:
    found = formats.find(name)
    written = tmp_path / f"out{found.suffix}"
    if not written.exists():
        write_file(name, written, LABELS, [(frame(0), ALL)])
    files = damaged(files_of(written), random.Random(seed))
    target = tmp_path / ("in.zip" if "" not in files else f"in{found.suffix}")
    if "" in files:
        target.write_bytes(files[""])
    else:
        with zipfile.ZipFile(target, "w") as archive:
            for file, body in files.items():
                archive.writestr(file, body)
    try:
        found.read(target)
    except BridgeError as error:
        assert len(error.message) > 10
        assert error.status < 500

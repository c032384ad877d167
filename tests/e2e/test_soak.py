"""A short piece of `make soak`: nothing fails, nothing is lost, nothing stays open."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.soak.run import soak


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_mixed_traffic_fails_nowhere_loses_nothing_and_leaves_nothing_open(tmp_path: Path) -> None:
    report = await soak(tmp_path, 8, predictors=12, annotators=2, others=1, settle_s=3)
    assert report.wrong == []
    assert report.jobs >= 1
    assert {row.kind for row in report.rows} >= {"predict", "upload", "job", "page"}

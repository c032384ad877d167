"""OpenVINO's package, asked for in one place, so that it tells nobody that it is used."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def openvino(part: str = "") -> Any:
    """The package, or a module of it such as ``frontend``; OpenVINO is an extra.

    Its converter reports every conversion to a counter on the web, from a forked copy of this process that may hang,
    and leaves an id in the home folder, unless the package that does this cannot be imported. It has no switch of
    its own but a file in the user's home.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # whoever imports it finds it missing
    return importlib.import_module(f"openvino.{part}" if part else "openvino")

"""What holds for the whole suite."""

from __future__ import annotations

import os
import sys

from hypothesis import HealthCheck, settings

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # as in adapters/openvino_package.py
# Before the hub's client is imported: plain HTTP to the loopback hub, and no word to the real one.
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
    os.environ.pop(name, None)

# The same examples in every run, however slow the machine; HYPOTHESIS_ANEW=1 looks for others. A fixture is shared by
# the examples of a test, which is meant.
settings.register_profile(
    "hubbridge",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=not os.environ.get("HYPOTHESIS_ANEW"),
)
settings.load_profile("hubbridge")

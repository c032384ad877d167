"""Functions behind a Nuclio dashboard, or called directly at their own port."""

from __future__ import annotations

import re

from adapters.references.hints import hints_of
from adapters.references.kinds import NuclioFunction
from adapters.references.pasted import Pasted, refusal

DASHBOARD_PORT = 8070
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # what CVAT accepts as a function's id


def direct(url: Pasted) -> NuclioFunction:
    """A URL that the user has called a Nuclio function with ``nuclio+``."""
    if url.segments:
        return on_dashboard(url) or _refuse_path(url)
    return NuclioFunction(url.base_url, None, hints_of(url).labels)


def on_dashboard(url: Pasted) -> NuclioFunction | None:
    """A function's page or API address on a dashboard, or the dashboard itself; None where the path is neither."""
    match url.segments:
        case ("api", "functions", name) | ("projects", _, "functions", name, *_):
            if not _NAME.fullmatch(name):
                raise refusal("The function's name holds characters that Nuclio does not allow.", _hint(url))
            return NuclioFunction(url.base_url, name)
        case ("projects",) | ("projects", _) | ("projects", _, "functions") | ("api", "functions"):
            return NuclioFunction(url.base_url, "")
        case ("projects", *_) | ("api", "function_invocations"):
            raise refusal("This page of the Nuclio dashboard names no function.", _hint(url))
        case () if url.port == DASHBOARD_PORT:
            return NuclioFunction(url.base_url, "")
        case _ if url.port == DASHBOARD_PORT:
            raise refusal("This is a Nuclio dashboard without a function's name.", _hint(url))
    return None


def _refuse_path(url: Pasted) -> NuclioFunction:
    raise refusal(
        "A Nuclio function is called at the root of its address.", f"Paste nuclio+{url.base_url}, without the path."
    )


def _hint(url: Pasted) -> str:
    return f"Paste {url.base_url}/api/functions/NAME."

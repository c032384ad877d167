"""Reading what CVAT sends to a function. Everything in a body is untrusted. Raises InvalidRequest and BadFrame."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from adapters.frame import Frame
from bridge.errors import InvalidRequest, TooLarge
from bridge.sources.files import ImageLimits

Body = Mapping[str, Any]

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")  # as Go writes them: 120s, 1m30s, 1500ms
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_SECONDS = 3600.0


def parse_body(data: bytes) -> Body:
    """The JSON object of a call."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The call is no JSON.", hint='CVAT sends {"image": ...}.') from error
    if not isinstance(body, dict):
        raise InvalidRequest("The call is no JSON object.", hint='CVAT sends {"image": ...}.')
    return body


def read_frame(body: Body, limits: ImageLimits, key: str = "image") -> Frame:
    """The picture in base64; of any kind that Pillow opens."""
    text = body.get(key)
    if not isinstance(text, str) or not text:
        raise InvalidRequest(f"The call holds no {key}.", hint="It is to be an image file in base64.")
    if len(text) > limits.max_file_bytes * 4 // 3 + 4:
        raise TooLarge(f"The image is larger than {limits.max_file_bytes // 2**20} MB.", hint="See [images].")
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest(f"The {key} is not in base64.", hint="It is to be an image file in base64.") from error
    frame = Frame.from_bytes("What CVAT sent", data)
    if frame.width * frame.height > limits.max_pixels:
        raise TooLarge(f"The image has {frame.width} x {frame.height} pixels.", hint="See [images] max_pixels.")
    return frame


def read_threshold(body: Body) -> float | None:
    """The least score; None where CVAT sends none."""
    value = body.get("threshold")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest("The threshold is no number between 0 and 1.", hint="Set another one in CVAT.")
    return float(value)


def read_timeout(header: str | None, default_s: float) -> float:
    """Seconds of ``X-Nuclio-Invoke-Timeout``; the default where it is missing or no duration."""
    text = (header or "").strip()
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return default_s
    seconds = math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
    return min(seconds, MAX_SECONDS) if seconds > 0 else default_s

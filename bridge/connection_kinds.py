"""Where an account can be, with the host that is meant when none is named."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal["huggingface", "roboflow", "nuclio", "cvat", "label-studio", "https"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DEFAULT_HOSTS: dict[Kind, str] = {
    "huggingface": "huggingface.co",
    "roboflow": "roboflow.com",
    "nuclio": "",
    "cvat": "app.cvat.ai",
    "label-studio": "",
    "https": "",
}

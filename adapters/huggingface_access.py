"""Which Hugging Face Hub is asked, and with whose token."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adapters.base import Context
from adapters.errors import Unavailable

if TYPE_CHECKING:
    from adapters.huggingface_hub_client import Hub

HUB = "https://huggingface.co"


def hub_of(context: Context) -> Hub:
    """The hub in use: the one that the operator configured, that of HF_ENDPOINT, or huggingface.co.

    Raises Unavailable in offline mode.
    """
    if context.offline:
        raise Unavailable("The hub is not asked in offline mode.", hint="Use a model that has been downloaded before.")
    from adapters.huggingface_hub_client import Hub  # noqa: PLC0415  (only those who ask the hub pay for its client)

    return Hub(_hub_url(context), hub_token(context), context.http)


def hub_token(context: Context) -> str | None:
    """The token of the hub in use, which is the router's as well."""
    return context.secret("huggingface", urlsplit(_hub_url(context)).netloc)


def _hub_url(context: Context) -> str:
    return (context.endpoints.get("huggingface") or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")

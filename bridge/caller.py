"""Who asks, for what gives everybody a share: set where a request comes in, read wherever its work is done."""

from __future__ import annotations

from contextvars import ContextVar

# A token, the address of who shows none, or "" for what nobody asked for over the network.
caller: ContextVar[str] = ContextVar("caller", default="")

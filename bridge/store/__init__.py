"""All SQL of the service. Functions take a connection, so that a caller composes them in one transaction."""

from bridge.store.engine import Store

__all__ = ["Store"]

"""Loopback servers that speak the wire of model hosts, quirks and all; adapters run against them unchanged."""

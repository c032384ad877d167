"""The command line. Importing it is cheap: what a command needs is imported when it runs."""

from bridge.cli.main import main

__all__ = ["main"]

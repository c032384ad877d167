"""`python -m bridge.cli` is `hubbridge`."""

from bridge.cli.main import main

main()

"""``python -m tensorized_adapters SUBCOMMAND FLAG...``, the same as the command ``tensorized-adapters``."""

from .cli.main import main

main()

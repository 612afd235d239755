"""``python -m tensorized_adapters SCRIPT FLAG...``, as the command ``tensorized-adapters``."""

from .cli.main import main

main()

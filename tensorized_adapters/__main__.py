"""``python -m tensorized_adapters SCRIPT FLAG...``, as the command ``tensorized-adapters``."""

from .commands import main

main()

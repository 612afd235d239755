"""The command ``tensorized-adapters``: one module a subcommand."""

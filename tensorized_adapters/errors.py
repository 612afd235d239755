"""The ways in which a run ends other than well, each told to the user in one line."""


class UsageError(ValueError):
    """Refused input: an argument, a file or a folder. The message names it and the mend; exit code 2."""


class RunFailed(RuntimeError):
    """A run that was accepted and went wrong (NaN loss, out of memory). The message says what is kept; exit code 1."""


class Terminated(BaseException):
    """SIGTERM, as an exception, so that files are closed and the record says so; exit code 143."""


class RaisesUsageErrors:
    """Mixed into an argparse parser: what it refuses is raised, rather than printed under a usage dump."""

    def error(self, message: str):
        raise UsageError(message)

"""The ways in which a run ends other than well, each told to the user in one line."""

_LONGEST_LINE = 1000


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


def quoted(value: object, limit: int = 80) -> str:
    """A value of the user's for a message: as Python writes it, in at most ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 4]}...{text[-1]}"


def one_line(message: object) -> str:
    """A message for the terminal: one line, what does not print escaped, its middle left out if it is very long."""
    text = " ".join(str(message).split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    half = _LONGEST_LINE // 2
    return text if len(text) <= _LONGEST_LINE else f"{text[:half]} ... {text[-half:]}"

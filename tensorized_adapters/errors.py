"""The errors that end a run, each shown to the user as a message of one line."""

import contextlib
import difflib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence

_LONGEST_LINE = 1000
_LONGEST_VALUE = 80


class UsageError(ValueError):
    """Refused input: an argument, a file or a folder. The message names it and says how to correct it; exit code 2."""


class RunFailed(RuntimeError):
    """A run that was accepted and went wrong (NaN loss, out of memory). The message says what is kept; exit code 1."""


class Terminated(BaseException):
    """SIGTERM, as an exception, so that files are closed and the record says so; exit code 143."""


def need(package: str, extra: str, feature: str) -> None:
    """Refuse a ``feature`` if an optional package is missing, naming the extra that brings it; raise UsageError."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{feature} needs {package}, which is missing: pip install 'tensorized-adapters[{extra}]'")


def refuse_first(flaws: Iterable[str]) -> None:
    """Raise UsageError with the first of the messages, if there is one. A check yields a message for each flaw."""
    for flaw in flaws:
        raise UsageError(flaw)


class RaisesUsageErrors:
    """A mixin for an argparse parser, which raises its errors instead of printing them below the usage."""

    def error(self, message: str):
        string = r"""(['"])(?:\\.|(?!\1).)*\1"""  # a string as Python writes it
        raise UsageError(re.sub(string, lambda found: shortened(found[0]), message, flags=re.DOTALL))


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a question for the nearest of the known words; ``otherwise`` if none is near."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {near[0]}?" if near else otherwise


def quoted(value: object, most: int = _LONGEST_VALUE) -> str:
    """Return a value of the user's for a message: as Python writes it, in at most ``most`` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        text = hex(value)
    return shortened(text, most)


def listed(names: Sequence[str]) -> str:
    """Return the names, or the first ten, for a message. A name with a comma is quoted, or it would look like two."""
    shown = ", ".join(quoted(name) if "," in name else quoted(name)[1:-1] for name in names[:10])
    return shown if len(names) <= 10 else f"{shown}, ..."


def printable(text: str) -> str:
    """Return the text with what does not print, line breaks and half characters, escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def one_line(message: object) -> str:
    """Return a message as one line. What does not print is escaped, and the middle of a very long one left out."""
    return shortened(printable(" ".join(str(message).split())), _LONGEST_LINE)


def reason_of(error: BaseException, most: int = _LONGEST_LINE) -> str:
    """Return an error's message as one line of at most ``most`` characters, or its type if it has no message."""
    return one_line(error)[:most] or type(error).__name__


def shortened(text: str, most: int = _LONGEST_VALUE) -> str:
    """Return the text in at most ``most`` characters; the middle of a longer one is left out."""
    half = most // 2 - 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


@contextlib.contextmanager
def about_model() -> Iterator[None]:
    """Let messages about ``--model_name_or_path`` name the flag ``--model`` within the block."""
    try:
        yield
    except UsageError as error:
        raise UsageError(str(error).replace("--model_name_or_path", "--model")) from None

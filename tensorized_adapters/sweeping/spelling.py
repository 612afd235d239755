"""Checks how the flags of a sweep are spelled: dashes or underscores, aliases given twice, and misspelled names."""

import argparse

from ..errors import UsageError


def with_underscores(word: str) -> str:
    """``--num-train-epochs=3`` as ``--num_train_epochs=3``."""
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if word.startswith("--") else word


def check_spelled_once(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Refuse a flag that is given by two of its names; raises UsageError."""
    given = {word.partition("=")[0] for word in argv}
    for action in parser._actions:
        both = [option for option in action.option_strings if option in given]
        if len(both) > 1:
            raise UsageError(f"{' and '.join(both)} are the same; give one of them")


def check_known(parser: argparse.ArgumentParser, flags: list[str]) -> None:
    """Refuse an unknown flag that resembles a flag of the sweep. The main job reports all other unknown flags.

    Raises:
        UsageError: naming the flag that is near.
    """
    from ..arguments.parsing import nearest, words_of_flags

    of_job = words_of_flags()
    own = [option for action in parser._actions for option in action.option_strings]
    for word in (flag.partition("=")[0] for flag in flags if flag.startswith("--")):
        if word not in of_job and (near := nearest(word, [*own, *of_job])) in own:
            raise UsageError(f"unknown argument {word}; did you mean {near}?")

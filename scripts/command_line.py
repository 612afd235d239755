"""What the command lines of the Python scripts have in common."""

import argparse

from tensorized_adapters.errors import RaisesUsageErrors


class ScriptParser(RaisesUsageErrors, argparse.ArgumentParser):
    """Shows the script's docstring as it stands, takes flags in full only, and raises UsageError for a wrong one."""

    def __init__(self, description: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

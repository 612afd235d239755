"""The table of architectures and checks at the end of a test run, made from the results of its tests.

A test that takes an architecture as ``name`` says by ``@pytest.mark.cells("check", ...)`` which cells it fills;
``shown`` is what stands there if it passes. What did not run stays empty.
"""

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "cells(*checks, shown='ok'): cells of the table of architectures")


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in item.iter_markers("cells"):
            architecture, shown = item.callspec.params["name"], mark.kwargs.get("shown", "ok")
            # Properties travel with the report, from the processes of xdist too.
            item.user_properties += [("cell", (architecture, check, shown)) for check in mark.args]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    cells = {}
    for outcome in ("passed", "failed", "error", "skipped"):  # a failure outweighs a pass
        for report in terminalreporter.stats.get(outcome, []):
            for kind, value in getattr(report, "user_properties", ()):
                if kind == "cell":
                    architecture, check, shown = value
                    text = {"passed": shown, "skipped": "skipped"}.get(outcome, "FAILED")
                    before = cells.get((architecture, check))
                    cells[architecture, check] = "FAILED" if "FAILED" in (before, text) else text
    if not cells:
        return
    checks = sorted({check for _, check in cells})
    rows = [["", *checks]]
    for name in sorted({name for name, _ in cells}):
        rows.append([name, *(cells.get((name, check), "") for check in checks)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    terminalreporter.section("architectures")
    for row in rows:
        terminalreporter.write_line("  ".join(map(str.ljust, row, widths)).rstrip())

"""Reports on runs: reads and groups their records, makes tables and figures, and writes the page."""

PACKAGES = ("matplotlib", "jinja2")  # optional packages that a report needs

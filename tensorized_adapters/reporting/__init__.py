"""Reports on runs: reads and groups their records, makes tables and figures, and writes the page."""

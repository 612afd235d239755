"""What scripts/report.py is made of: reading and grouping of records, tables, figures, the page."""

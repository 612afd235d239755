"""What tensorized-adapters report is made of: reading and grouping of records, tables, figures, the page."""

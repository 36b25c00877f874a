"""What a set of measured points says: curves, BD-rates and tables, as Markdown, CSV and one HTML page."""

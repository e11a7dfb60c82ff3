"""The tables of a report: their rows, and their text as Markdown, CSV and LaTeX."""

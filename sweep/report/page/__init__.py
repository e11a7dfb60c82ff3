"""The page of a report: its template, style and scripts, and the data that they show."""

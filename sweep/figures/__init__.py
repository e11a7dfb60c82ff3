"""The figures of a report, one file a figure: each makes its numbers first and then draws them."""

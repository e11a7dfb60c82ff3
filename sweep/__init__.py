"""The sweep: plan, run, statistics and report of a study. Each command is `python -m sweep.NAME`."""

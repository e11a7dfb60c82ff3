"""The command `radsweep`: one name for all commands, which also stay `python -m sweep.NAME`."""

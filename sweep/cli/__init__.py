"""How a command speaks and ends: its display, exit codes, signals, flags and warnings."""

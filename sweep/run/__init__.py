"""The command sweep.run: the whole study, one cell again, or the study under faults."""

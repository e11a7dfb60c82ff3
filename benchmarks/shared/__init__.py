"""What do several benchmarks use: timing, lines of figures, the page, small storages, the limit of a machine?"""

"""Which mutants does a pure module have, and how are its tests run against them? For benchmarks/counts/mutants.py."""

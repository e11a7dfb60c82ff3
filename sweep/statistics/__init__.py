"""How sure is a number? Means, intervals, tests, ranks and subgroups, from results and saved predictions."""

"""From a plan to results: on a Ray cluster, beside other drivers, until nothing more can be done."""

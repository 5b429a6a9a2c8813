"""Experiments, each a profile on a data set with a seed: the methods, the store of results, and Table 1."""

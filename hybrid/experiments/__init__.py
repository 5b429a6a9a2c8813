"""A profile on a data set with a seed: the methods, what is kept of them, and Table 1."""

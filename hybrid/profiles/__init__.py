"""The settings of a run, and complete sets of values for them."""

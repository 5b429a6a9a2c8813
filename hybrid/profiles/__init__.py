"""Complete values of everything that a run can be told."""

"""Against what people would use instead: the same work by this package and by others, timed in turns."""

"""Speed, compared with other libraries: the same work by this package and by another one, timed in turns."""

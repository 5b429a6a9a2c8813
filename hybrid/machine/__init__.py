"""The machine: precision, processes, compilation, files, and the provenance of results."""

"""What the code runs on: precision, processes, compilation, files, and where a result comes from."""

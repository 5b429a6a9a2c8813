"""The one training loop, its optimisers, averages, checkpoints and history."""

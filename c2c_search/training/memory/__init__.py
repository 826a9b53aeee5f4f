"""The memory of a training, predicted without weights."""

"""Published C2C checkpoints, read and written."""

"""Data room: examples as `datasets.Dataset`, in splits that share no fact."""

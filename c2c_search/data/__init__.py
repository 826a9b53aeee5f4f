"""Examples as `datasets.Dataset`, in splits that share no fact."""

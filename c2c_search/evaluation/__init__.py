"""Evaluation room: systems answer tasks, and statistics says what the answers prove."""

"""Systems answer tasks, and statistics says what the answers prove."""

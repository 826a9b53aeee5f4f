"""How a trial is trained and judged."""

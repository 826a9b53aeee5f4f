"""Pipeline room: how a trial is trained and judged."""

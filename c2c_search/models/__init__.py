"""The two frozen models, what they read, and their prompt caches."""

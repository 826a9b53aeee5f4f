"""Prompts as KV-caches: computing them, storing them, and taking batches of them."""

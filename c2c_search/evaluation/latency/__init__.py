"""Latency: how long systems take to answer, side by side."""

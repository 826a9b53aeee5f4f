"""Fuser room: the network that is searched, torch only."""

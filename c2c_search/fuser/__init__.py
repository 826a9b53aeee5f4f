"""The network that is searched, torch only."""

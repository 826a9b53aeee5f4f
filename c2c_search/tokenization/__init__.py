"""Prompts as tokens: templates, and which tokens of two models stand for each other."""

"""Excavation volumes from two point clouds and a stable area: numbers without Django.

Five stages, each a child process that reads and writes one folder (stages.py). How it works, and why this way:
docs/explanation/survey-engine.md.
"""

"""Logical units to build an environment from: they take objects, never a stage's configuration."""

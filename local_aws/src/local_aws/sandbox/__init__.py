"""Isolation and memory limit of one execution environment or container."""

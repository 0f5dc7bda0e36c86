"""Fixes of single services."""

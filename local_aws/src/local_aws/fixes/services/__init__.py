"""Fixes of the answers of single services."""

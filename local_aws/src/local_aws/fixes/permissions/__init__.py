"""Fixes of how ministack enforces IAM."""

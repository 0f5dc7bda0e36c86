"""Fixes of IAM enforcement."""

"""Fixes of resource types, attributes and deletions in CloudFormation."""

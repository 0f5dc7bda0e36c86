"""The doctor: which checks it makes, and which findings follow."""

"""Reads the options, makes the clients of AWS and checks both."""

"""Loggers, which show a run while it runs and afterwards."""

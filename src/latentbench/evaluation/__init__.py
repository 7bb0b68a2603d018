"""A trained run, measured."""

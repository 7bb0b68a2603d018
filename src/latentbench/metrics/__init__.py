"""Pure functions, each under a thin accumulator."""

"""Where and how the runs of a sweep are executed."""

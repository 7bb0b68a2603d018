"""Image data sets with fixed splits."""

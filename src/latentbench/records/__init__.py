"""The records of runs: their format, their files, and their copies in Weights & Biases."""

"""A composed run: its parts built, trained, evaluated, recorded, logged; and its locks, checkpoints, subprocesses."""

"""Executes a composed run: builds its parts, trains, evaluates and records it; locks, checkpoints and subprocesses."""

"""Which posterior, prior and regularizer fit together.

A pair is refused by its regularizer, with a reason: `refuses` in regularizers/base.py and in its own class. The model
asks it before it is built. `table` shows the outcome for all options.
"""

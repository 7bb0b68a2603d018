"""How the learning rates change during the training. One file per option."""

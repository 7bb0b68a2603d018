"""How gradients change weights. One file per option."""

"""How the weight of the regularizer changes during training."""

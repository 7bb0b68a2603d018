"""How the weight of the regularizer develops during training."""

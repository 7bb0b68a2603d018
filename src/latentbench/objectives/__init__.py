"""The training loss of an autoencoder, built from the likelihood and the regularizer."""

"""What an autoencoder is trained to minimise, given its regularizer."""

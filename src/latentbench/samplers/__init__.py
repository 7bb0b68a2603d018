"""Ways to pick a latent to decode."""

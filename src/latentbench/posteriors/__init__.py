"""Posteriors q(z|x), the distributions that an encoder gives."""

"""Priors p(z), the distributions of the latents."""

"""Samplers, ways to draw the latents that are decoded into new images."""

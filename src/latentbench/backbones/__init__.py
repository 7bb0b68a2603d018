"""Networks between images and features, and between latents and images."""

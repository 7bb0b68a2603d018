"""What a Frechet distance compares images by."""

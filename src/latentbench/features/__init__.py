"""Image features, in which Frechet distances and other metrics compare sets of images."""

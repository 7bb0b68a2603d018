"""Where a run is shown while and after it runs."""

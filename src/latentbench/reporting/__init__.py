"""What is said of many runs: tables, figures, pages."""

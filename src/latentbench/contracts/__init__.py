"""What every option of a group must do, as tests for pytest: of latentbench's own options, or of yours."""

# Set by latentbench-check: group -> the one option that is checked, with latentbench's own options of other groups.
CHECKED: dict[str, str] = {}

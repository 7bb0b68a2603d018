"""What every option of a group must do, as tests for pytest: of latentbench's own options, or of yours.

Why two options do not fit together is said by the parts themselves: `Regularizer.refuses`, for example.
"""

# Set by latentbench-check: group -> the one option that is checked, with latentbench's own options of other groups.
CHECKED: dict[str, str] = {}

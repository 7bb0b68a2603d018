"""What goes wrong in ways a user can mend. Each message is one line: what is wrong, what would be right."""


class UserError(Exception):
    """The command, the configuration or the data cannot be used as given."""


class Refused(UserError):
    """The parts of a run do not fit together; the message says why and what would fit."""


class Diverged(Exception):
    """Training reached a loss that is not a finite number."""

"""How messages are written, by a command and by the processes that it starts."""

import logging
import logging.config
import sys

from tqdm import tqdm


class BarFriendlyHandler(logging.Handler):
    """Writes messages to standard error above the bars instead of through them."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        tqdm.write(self.format(record), file=sys.stderr)


def set_up_logging() -> None:
    """Messages on standard error, one line each: latentbench's own, and the warnings of all other packages."""
    logging.config.dictConfig(
        {
            "version": 1,
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {"console": {"()": BarFriendlyHandler, "formatter": "plain"}},
            "loggers": {
                "latentbench": {"level": "INFO"},
                "pytorch_lightning": {"level": "WARNING"},
                "lightning_fabric": {"level": "WARNING"},
            },
            "root": {"level": "WARNING", "handlers": ["console"]},
            "disable_existing_loggers": False,
        }
    )

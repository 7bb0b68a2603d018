"""Sets up log messages and warnings, for a command and for the processes that it starts."""

import logging
import logging.config
import sys
import warnings

from tqdm import tqdm

# Lightning's warnings that do not apply to latentbench: pattern -> reason.
IGNORED_WARNINGS = {
    ".*LeafSpec.*": "a deprecation inside Lightning's own code",
    ".*have no `validation_step`.*": "a GAN has nothing to validate",
    ".*sync_dist=True.*": "every process already computes the means of whole batches",
    ".*`srun` command is available.*": "one Slurm task is one run, whatever its number of devices",
}


class ProgressBarHandler(logging.Handler):
    """Writes messages to standard error above progress bars instead of through them."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except OSError:  # nobody reads the messages any more, which must not end a run
            self.handleError(record)


def is_for_the_user(record: logging.LogRecord) -> bool:
    """Whether it is latentbench's, or a warning. Levels alone do not do: Lightning sets its own when it is imported."""
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == "latentbench"


def set_up_logging() -> None:
    """Write messages to standard error, one line each: latentbench's own, and the warnings of all other packages."""
    logging.config.dictConfig(
        {
            "version": 1,
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {"console": {"()": ProgressBarHandler, "formatter": "plain", "filters": [is_for_the_user]}},
            "loggers": {
                "latentbench": {"level": "INFO"},
                # If it is imported already, it has a handler of its own; if not, the filter above is what counts.
                "pytorch_lightning": {"level": "WARNING"},
                "lightning_fabric": {"level": "WARNING"},
            },
            "root": {"level": "WARNING", "handlers": ["console"]},
            "disable_existing_loggers": False,
        }
    )


def ignore_known_warnings() -> None:
    """Hide the warnings that do not apply."""
    for pattern in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=pattern)

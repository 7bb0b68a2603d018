"""Messages: how a command and the processes that it starts write them."""

import logging
import logging.config
import sys

from omegaconf import OmegaConf
from tqdm import tqdm

from latentbench.configuration.catalogue import CONF_DIR


class BarFriendlyHandler(logging.Handler):
    """Writes messages to standard error above the bars instead of through them."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        tqdm.write(self.format(record), file=sys.stderr)


def set_up_logging() -> None:
    """Messages as Hydra sets them up in the first process, in another one."""
    content = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "hydra" / "job_logging" / "latentbench.yaml"))
    assert isinstance(content, dict)
    logging.config.dictConfig({str(key): value for key, value in content.items()})

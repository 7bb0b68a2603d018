"""The plain process of a run over several devices: `python -m latentbench.running.worker FILE`."""

import logging
import os
import pickle
import sys
import threading
import time
import warnings
from pathlib import Path

from latentbench.errors import Diverged, UserError
from latentbench.records.record import write_whole
from latentbench.running.logging_setup import set_up_logging
from latentbench.running.subprocess_run import OUTCOME, end_with, is_first
from latentbench.running.train import attempt_here, follow

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds that the first process has to end by itself where another one cannot go on


def main() -> None:
    """Carry out the run that the file holds, or, where Lightning started this process, take part in its training."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    path = Path(sys.argv[1])
    job, devices = pickle.loads(path.read_bytes())
    os.environ.setdefault("OMP_NUM_THREADS", str(job.config.threads))  # else Lightning takes all there are
    set_up_logging()
    try:
        if is_first():
            outcome = attempt_here(job, devices=devices)
            write_whole(path.with_suffix(OUTCOME), outcome.encode())
            return
        warnings.simplefilter("ignore")  # the first process has the same
        follow(job, devices=devices)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not isinstance(error, UserError | Diverged):  # which the first process meets as well, and says
            log.exception("process %s of the run failed", os.environ["LOCAL_RANK"])
        time.sleep(PATIENCE)  # once this process ends, Lightning kills the first, whether it has said why or not
        sys.exit(1)
    os._exit(0)  # an ending that failed would be taken for a failure of the training


if __name__ == "__main__":
    main()

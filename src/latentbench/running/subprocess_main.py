"""The processes of a run on several devices: `python -m latentbench.running.subprocess_main FILE`."""

import logging
import os
import sys
import threading
import time
import warnings
from pathlib import Path

from latentbench.errors import Diverged, UserError
from latentbench.records.record import write_atomically
from latentbench.running.logging_setup import set_up_logging
from latentbench.running.run import run_in_this_process
from latentbench.running.subprocess_run import (
    INTERRUPTED,
    OUTCOME_SUFFIX,
    exit_with_parent,
    is_main_process,
    load_job,
)
from latentbench.running.train import join_training

log = logging.getLogger(__name__)

GRACE_SECONDS = 60.0  # time for the main process to report its own error after another process has failed


def main() -> None:
    """Run the job in the file; in a process that Lightning started for a further device, join its training."""
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    path = Path(sys.argv[1])
    job, devices = load_job(path)
    os.environ.setdefault("OMP_NUM_THREADS", str(job.config.threads))  # otherwise Lightning sets it to all cores
    set_up_logging()
    try:
        if is_main_process():
            outcome = run_in_this_process(job, devices=devices)
            write_atomically(path.with_suffix(OUTCOME_SUFFIX), outcome.encode())
            return
        warnings.simplefilter("ignore")  # the main process shows the same warnings
        join_training(job, devices=devices)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if not isinstance(error, UserError | Diverged):  # the main process reports these
            log.exception("process %s of the run failed", os.environ["LOCAL_RANK"])
        time.sleep(GRACE_SECONDS)  # when this process ends, Lightning kills the main process at once
        sys.exit(1)
    os._exit(0)  # without clean-up: an error in it would count as a failed training


if __name__ == "__main__":
    main()

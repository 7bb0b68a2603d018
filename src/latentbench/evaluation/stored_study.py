"""The runs of a study, opened from its folder."""

from pathlib import Path

import pandas as pd

from latentbench.errors import UserError
from latentbench.evaluation.stored_run import StoredRun
from latentbench.records.record import Record, is_trained
from latentbench.records.store import left_out_message, load_records
from latentbench.reporting.grouping import frame


class StoredStudy:
    """The records of a study and its trained runs.

    records: of all its runs, also of those that failed
    folder: `<output_dir>/<study>`; the folder of a published study has records but no trained runs
    unusable: a message for each record that cannot be read, and for each run that `runs` leaves out
    Raises: UserError if there is no record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[Record]
        self.records, self.unusable = load_records(folder)
        if not self.records:
            raise UserError(f"{folder} has no records: name the folder of a study, such as outputs/quick")

    @property
    def runs(self) -> list[StoredRun]:
        """The trained runs, sorted by the name of their folder; without those that cannot be opened."""
        opened = []
        for folder in sorted(self.folder / record.run_id for record in self.records):
            if not is_trained(folder):
                continue
            try:
                opened.append(StoredRun.open(folder))
            except UserError as error:
                if (message := left_out_message(error)) not in self.unusable:
                    self.unusable.append(message)
        return opened

    def frame(self) -> pd.DataFrame:
        """The table that all tables and figures are made of: a row per run, a column per setting and metric."""
        return frame(self.records)

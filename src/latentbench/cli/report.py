"""`latentbench-report`: a study as one web page, from its records and their images alone."""

from collections.abc import Sequence

from latentbench.cli.command import run_command
from latentbench.cli.tables import BESIDE_RECORDS, FROM_RECORDS

HELP = """latentbench-report: a study as one web page, from its records and their images alone.

Usage:
  latentbench-report sweep=quick                    the study of sweeps/quick.yaml
  latentbench-report study=mine output_dir=results  the records below results/mine
  latentbench-report sweep=quick from=wandb         the records in the W&B project logger.entity/logger.project

Reads  the same records as latentbench-tables, with the same options.
Writes <output_dir>/<study>/report.html, or DIR/report.html with to=DIR: one file that needs no network, with the
       question, a short answer, figures, sortable tables, and every run with its images, measures and settings.

table.baseline  the value that names the baseline, such as vae; other rows are tested against it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command or the records cannot be used."""
    return run_command("latentbench-report", _write, arguments, help_text=HELP, needs_arguments=False)


def _write(arguments: list[str]) -> None:
    # Imported here, so that --help is quick.
    from latentbench.configuration.compose import compose_config
    from latentbench.reporting.page import write_page

    write_page(compose_config([FROM_RECORDS, BESIDE_RECORDS, *arguments]))

"""`latentbench-tables`: a study's table and figures, from its records alone."""

from collections.abc import Sequence

from latentbench.cli.command import run_command
from latentbench.configuration.catalogue import option_description, option_files

HELP = """latentbench-tables: a study's table and figures, from its records alone.

Usage:
  latentbench-tables sweep=quick                    the study of sweeps/quick.yaml
  latentbench-tables study=mine output_dir=results  the records below results/mine
  latentbench-tables sweep=quick from=wandb         the records in the W&B project logger.entity/logger.project
  latentbench-tables sweep=quick publish=true       writes results/quick/<data>, records included (force=true
                                                    replaces published runs that are missing here)
  latentbench-tables sweep=quick 'table.rows=[method,latent_size]' 'table.columns=[fid/prior,nll/test]'

Reads  <output_dir>/<study>/*/record.json (by default output_dir=outputs, study=adhoc), and published
       records: <output_dir>/<study>/*/records.jsonl.gz.
Writes <output_dir>/<study>/table.md, table.csv, table.tex, and the figures as .png and .pdf; to=DIR writes them there.

table.rows      choices or config keys that make a row; only seeds are averaged over
table.columns   metrics, as <quantity>/<set name>; null: every recorded metric
table.baseline  the value that names the baseline, such as vae; rows that differ significantly from it are marked
table.samples   image sets to show side by side: samplers, reconstruction, interpolation
table.figures   name -> {{x: ..., y: ...}}: a metric against another metric or against a row key

Studies:
{studies}
"""
# Overrides that add keys which the config of a run does not have.
FROM_RECORDS, NOT_PUBLISHED, BESIDE_RECORDS = "+from=records", "+publish=false", "+to=null"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command or the records cannot be used."""
    return run_command("latentbench-tables", _help_or_write, arguments, help_text=None)


def _help_or_write(arguments: list[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        print(HELP.format(studies=_studies()))
        return
    # Imported here, so that --help is quick.
    from latentbench.configuration.compose import compose_config
    from latentbench.reporting.tables import write_tables

    write_tables(compose_config([FROM_RECORDS, NOT_PUBLISHED, BESIDE_RECORDS, *arguments]))


def _studies() -> str:
    return "\n".join(f"  {path.stem:14} {option_description(path)}" for path in option_files("sweep"))

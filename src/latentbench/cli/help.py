"""The text of `latentbench --help`, made from the YAMLs. Imports slow packages only if others add parts of a model."""

from latentbench.configuration.catalogue import (
    CONF_DIR,
    GROUPS,
    PACKAGE,
    PAIRED,
    option_description,
    option_files,
    outside_files,
)

USAGE = """\
latentbench: what does a regularizer of the latent space give you?

  latentbench                                            one run with the defaults below
  latentbench method=vae data=mnist latent_size=10 beta=0.5 seed=1 trainer.max_epochs=20
  latentbench -m beta=0.1,1,10 latent_size=2,8,32        every combination
  latentbench -m sweep=quick                             a study
  latentbench-tables sweep=quick                         its table and figures, from the records
  latentbench-report sweep=quick                         its web page, with every run
  latentbench-verify results/quick/digits                a published study, run again and compared
  latentbench-dashboard sweep=quick entity=me            its workspace in Weights & Biases
  latentbench method=wae_mmd --cfg job                   the composed config; nothing is run

Records are written to <output_dir>/<study>/<run_id>/record.json. Hydra's own flags: latentbench --hydra-help.
"""


def help_text() -> str:
    """Usage, the options of every group with their descriptions, the scalars, and which parts fit together."""
    parts = [USAGE, "Options (group=option; several samplers or metrics as sampler=[prior,gmm]):"]
    for group in GROUPS:
        parts.append(f"\n{group}")
        parts += [f"  {path.stem:<20} {option_description(path)}" for path in option_files(group)]
    parts += ["\nvalues (key=value), with their defaults"]
    # The scalars are the lines `key: value  # meaning` of config.yaml.
    for line in (CONF_DIR / "config.yaml").read_text(encoding="utf-8").splitlines():
        setting, hash_sign, meaning = line.partition("#")
        if hash_sign and setting[:1].isalpha():
            parts.append(f"  {setting.strip():<20} {meaning.strip()}")
    parts += ["\nAny other key of the config can be set as well, such as trainer.max_epochs or prior.components."]
    parts += ["\nwhich regularizers fit which posterior and prior; every other combination is refused, with the reason"]
    parts += [_compatibility_table()]
    parts += ["\ntraining steps are recorded once and replayed, but for these methods, and for parts that do alike"]
    parts += [(PACKAGE / "running" / "eager_methods.txt").read_text(encoding="utf-8").rstrip()]
    return "\n".join(parts)


def _compatibility_table() -> str:
    if not any(map(outside_files, PAIRED)):
        return (PACKAGE / "compatibility" / "table.txt").read_text().rstrip()
    from latentbench.compatibility.table import table_with_outside_parts  # not at the top: it imports slow packages

    return table_with_outside_parts()

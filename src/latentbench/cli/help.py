"""The text of `latentbench --help`, made from the YAMLs. Imports nothing that is slow to import."""

from pathlib import Path

from latentbench.configuration.catalogue import CONF_DIR, GROUPS, option_files, sentence

USAGE = """\
latentbench: what does a regularizer of the latent space give you?

  latentbench                                            one run with the defaults below
  latentbench method=vae data=mnist latent_size=10 beta=0.5 seed=1 trainer.max_epochs=20
  latentbench -m beta=0.1,1,10 latent_size=2,8,32        every combination
  latentbench -m sweep=quick                             a study
  latentbench-tables sweep=quick                         its table and figures, from the records
  latentbench-report sweep=quick                         its web page, with every run
  latentbench-dashboard sweep=quick entity=me            its workspace in Weights & Biases
  latentbench method=wae_mmd --cfg job                   the composed config; nothing is run

Records are written to <output_dir>/<study>/<run_id>/record.json. Hydra's own flags: latentbench --hydra-help.
"""


def help_text() -> str:
    """Usage, every option of every group with its sentence, the scalars, and what fits together."""
    parts = [USAGE, "Options (group=option; several samplers or metrics as sampler=[prior,gmm]):"]
    for group in GROUPS:
        parts.append(f"\n{group}")
        parts += [f"  {path.stem:<20} {sentence(path)}" for path in option_files(group)]
    parts += ["\nvalues (key=value), with their defaults"]
    # The first paragraph of plain `key: value  # meaning` lines of config.yaml.
    for line in (CONF_DIR / "config.yaml").read_text(encoding="utf-8").splitlines():
        setting, hash_sign, meaning = line.partition("#")
        if hash_sign and setting[:1].isalpha():
            parts.append(f"  {setting.strip():<20} {meaning.strip()}")
    parts += ["\nAny other key of the config can be set as well, such as trainer.max_epochs or prior.components."]
    parts += ["\nwhich regularizers fit which posterior and prior; every other combination is refused, with the reason"]
    parts += [Path(__file__).with_name("compatibility.txt").read_text().rstrip()]
    return "\n".join(parts)

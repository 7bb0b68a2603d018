"""`latentbench-features`: trains the classifier of a data set, whose features metrics such as the FID compare."""

from collections.abc import Sequence

from latentbench.cli.command import run_command
from latentbench.errors import UserError

HELP = """latentbench-features: trains a classifier of your images, whose features metrics such as the FID compare.

Usage:
  latentbench-features data=mine                                    with the settings of `latentbench data=mine`
  latentbench-features data=mine trainer.precision=bf16-mixed       faster on processors and GPUs that have it
  latentbench-features data=mine trainer.accelerator=cpu            not on the GPU

The images need labels of two classes or more. The classifier is kept in latentbench's cache folder, with its accuracy.
From then on `features=auto` takes it for these data with these settings; a run that was measured without it measures
again what that affects. Any number of pixels, channels and classes.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2: the command or the data cannot be used."""
    return run_command("latentbench-features", _train, arguments, help_text=HELP)


def _train(arguments: list[str]) -> None:
    # Imported here, so that --help is quick.
    import shlex

    import torch

    from latentbench.cli.jobs import compose_jobs
    from latentbench.evaluation.build import build_data
    from latentbench.evaluation.stored_run import measuring_device
    from latentbench.features.train import accuracies, to_bytes, train
    from latentbench.records.classifiers import folder, is_shipped, keep, name_of

    if words := [word for word in arguments if "=" not in word]:
        raise UserError(f"{words[0]}: give the data as data=<option>, and settings as <key>=<value>")
    jobs = compose_jobs(arguments)
    if len(jobs) > 1:
        raise UserError("one command trains one classifier: give one value of each key")
    config, option = jobs[0].config, jobs[0].options["data"]
    if is_shipped(name := name_of(config, option)):
        raise UserError(
            f"{name} has a classifier, which is part of the package; to train another for these settings, "
            "give the data another name (data.name)"
        )
    own = folder()
    if own is None:
        raise UserError("the system knows no home folder, and so no cache folder for the classifier: set HOME")
    data = build_data(config)
    torch.manual_seed(0)
    classifier = train(data, device=measuring_device(config, None), precision=config.trainer.precision)
    weights, about = to_bytes(classifier, data, f"latentbench-features {shlex.join(arguments)}")
    print(f"{keep(weights, own, config, option)}: {accuracies(about)}")

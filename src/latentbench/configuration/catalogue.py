"""The option groups and their YAML files. Imports no package but OmegaConf, so that --help is quick."""

import functools
import itertools
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import MarkedYAMLError, YAMLError

from latentbench.configuration.folders import further_folders
from latentbench.errors import UserError

PACKAGE = Path(__file__).parents[1]
# conf/ is inside the package in a wheel, and at the root of a checkout.
CONF_DIR = next(folder for folder in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if folder.is_dir())

# The parts of a model. The constructor of a model decides which of them it uses.
PARTS = ("backbone", "posterior", "prior", "regularizer", "likelihood", "objective", "annealing")
# The parts that have to fit together, as `Regularizer.refuses` decides.
PAIRED = ("posterior", "prior", "regularizer")
# The groups that affect training, in the order in which names and tags list them.
TRAINING_GROUPS = ("method", "data", "model", *PARTS)
# The groups that only affect how a trained model is measured.
MEASURING_GROUPS = ("sampler", "features", "metric")
# The groups that say how the weights are trained, whatever the model.
FIT_GROUPS = ("optimizer", "schedule", "trainer")
GROUPS = (*TRAINING_GROUPS, *MEASURING_GROUPS, *FIT_GROUPS, "logger", "launcher", "sweep")
MULTI_OPTION_GROUPS = MEASURING_GROUPS  # a run may choose several options of these groups
SPLITS = ("test", "validation")  # the images that metrics may be measured against
# What a method has unless its YAML says otherwise.
USUAL_PARTS = {"model": "autoencoder", "objective": "elbo", "annealing": "constant"}
TARGET = re.compile(r"^\s*_target_:\s*['\"]?([\w.]+)", re.MULTILINE)
SCALARS = ("trial", "seed", "beta", "latent_size", "study", "output_dir", "force")


def config_keys() -> dict[str, Any]:
    """The keys of config.yaml, which every run has beside its options, and their defaults."""
    return {key: value for key, value in read_option(CONF_DIR / "config.yaml").items() if key != "defaults"}


def option_folders() -> list[Path]:
    """latentbench's own folder of options first, then those of other packages and of the command line."""
    return [CONF_DIR, *further_folders()]


def option_files(group: str) -> list[Path]:
    """The YAML files of a group, sorted by name."""
    files = [path for folder in option_folders() for path in (folder / group).glob("*.yaml")]
    return sorted(files, key=lambda path: path.stem)


def own_options(group: str) -> list[str]:
    """The names of latentbench's own options of a group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def outside_files(group: str) -> list[Path]:
    """The YAML files of a group that are not latentbench's own."""
    return [path for path in option_files(group) if not path.is_relative_to(CONF_DIR)]


def option_file(group: str, option: str) -> Path | None:
    """The YAML file of an option; None if there is no such option."""
    paths = [folder / group / f"{option}.yaml" for folder in option_folders()]
    return next((path for path in paths if path.is_file()), None)


@functools.cache
def read_option(path: Path) -> dict[str, Any]:
    """The content of an option's YAML, which is read once in a process; not to be changed."""
    return OmegaConf.to_container(load_yaml(path), resolve=False)  # type: ignore[return-value]


def load_yaml(path: Path) -> DictConfig:
    """The config in an option's YAML. Raises: UserError if that is not valid."""
    try:
        content = OmegaConf.load(path)
    except YAMLError as error:
        raise UserError(explain_yaml(error)) from error
    if not isinstance(content, DictConfig):
        raise UserError(f"{path}: an option has keys, such as _target_, and no list")
    return content


def explain_yaml(error: YAMLError) -> str:
    """Where a YAML cannot be read, and why."""
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    if mark is None:
        return " ".join(str(error).split())
    return f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}: {error.problem}"


def existing_option_file(group: str, option: str) -> Path:
    """The YAML file of an option. Raises: UserError if there is no such option."""
    files = {path.stem: path for path in option_files(group)}
    if option not in files:
        raise UserError(no_such_option(group, option))
    return files[option]


def no_such_option(group: str, option: str) -> str:
    names = ", ".join(path.stem for path in option_files(group))
    return f"{group}={option}: there is no such option; choose one of {names}"


def check_names() -> None:
    """Raises: UserError if two folders have an option of the same name: Hydra would take the first, silently.

    Or if the keys of numbers could not tell features from validation images."""
    if path := option_file("features", "validation"):
        raise UserError(f"{path}: keys such as fid/prior@validation are of validation images: rename these features")
    for group in GROUPS:
        for path, other in itertools.pairwise(option_files(group)):
            if path.stem == other.stem:
                raise UserError(f"{group}={path.stem} is an option twice, in {path} and in {other}: rename one of them")


def option_description(path: Path) -> str:
    """The description of an option: the first comment in its YAML that is not a Hydra directive."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @"):
            return line.removeprefix("# ")
    return ""


def option_targets() -> set[str]:
    """The classes that the YAML files of all options name."""
    files = [path for group in GROUPS for path in option_files(group)]
    return {name for path in files for name in TARGET.findall(path.read_text(encoding="utf-8"))}


def option_node(group: str, option: str) -> DictConfig:
    """The config of an option of MULTI_OPTION_GROUPS, from its YAML. Raises: UserError if there is no such option."""
    node: DictConfig = load_yaml(existing_option_file(group, option))[option]
    return node


def preset(method: str) -> dict[str, Any]:
    """What a method's YAML sets: parts, beta, and keys such as `model.beta1`; empty if there is no such method."""
    path = option_file("method", method)
    if path is None:
        return {}
    content = read_option(path)
    parts = {str(key).rpartition("/")[2]: option for entry in content["defaults"] for key, option in entry.items()}
    values = USUAL_PARTS | {"beta": content.get("beta", 1.0)} | parts
    keys = {
        f"{group}.{key}": value
        for group, of_group in content.items()
        if group in TRAINING_GROUPS and isinstance(of_group, dict)
        for key, value in of_group.items()
    }
    return {key: values[key] for key in ("model", *PARTS, "beta") if key in values} | keys

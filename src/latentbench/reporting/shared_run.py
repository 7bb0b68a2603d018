"""The folder of a run that is shared with others: config, weights, record, pictures and a model card."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from omegaconf import OmegaConf

from latentbench.configuration.catalogue import CONF_DIR, config_keys
from latentbench.records.record import FILE_NAME, WEIGHTS_NAME, Record, load, write_atomically
from latentbench.records.run_folder import IMAGES_NAME, load_config, load_images, save_config
from latentbench.reporting.image_grids import enlarge, pictures, to_png
from latentbench.reporting.model_card import model_card

LINES = 4  # lines of images in a picture
# The options of groups whose settings are of one machine or account, and change no number.
NEUTRAL_OPTIONS = {"logger": "none", "launcher": "serial"}
PATH = re.compile(r"(?<![\w/.~])(?:~|/[^\s/'\"`:;,()]+)/[^\s'\"`:;,()]*")  # within a text


def write_shared_run(run_dir: Path, out: Path, *, repo: str, command: str | None) -> None:
    """Write what is shared of a run, without the paths of this machine.

    repo: the repository, for the card's example; command: trains and measures the run
    """
    record = load(run_dir / FILE_NAME)
    config: dict[str, Any] = _with_texts(OmegaConf.to_container(load_config(run_dir)), _setting_without_paths)
    content = _with_texts(dataclasses.asdict(record), _without_paths)
    content["config"] = _with_texts(record.config, _setting_without_paths)
    output_dir = config_keys()["output_dir"]
    for holder in (config["choices"], content["choices"]):
        holder |= NEUTRAL_OPTIONS | {"output_dir": output_dir}
    for holder in (config, content["config"]):
        holder["output_dir"] = output_dir
        for group, option in NEUTRAL_OPTIONS.items():
            holder[group] = OmegaConf.to_container(OmegaConf.load(CONF_DIR / group / f"{option}.yaml"))
        if "root" in holder["data"]:
            holder["data"]["root"] = None
    shared = Record(**content)

    out.mkdir(parents=True, exist_ok=True)
    captions = {}
    for key, picture in pictures(load_images(run_dir / IMAGES_NAME), lines=LINES).items():
        name = f"pictures/{key}.png"
        write_atomically(out / name, to_png(enlarge(picture)))
        captions[name] = picture.caption
    card = model_card(shared, repo=repo, command=command, pictures=captions)
    write_atomically(out / "README.md", card.encode())
    save_config(out, config)
    shutil.copyfile(run_dir / WEIGHTS_NAME, out / WEIGHTS_NAME)
    shared.save(out)


def _with_texts(content: Any, change: Callable[[str], str]) -> Any:
    """A nested value in which every text is changed."""
    if isinstance(content, dict):
        return {key: _with_texts(value, change) for key, value in content.items()}
    if isinstance(content, list):
        return [_with_texts(value, change) for value in content]
    return change(content) if isinstance(content, str) else content


def _without_paths(text: str) -> str:
    """A text in which every path from the root or from a home is cut to its last name."""
    return PATH.sub(lambda path: PurePath(path[0]).name, text)


def _setting_without_paths(text: str) -> str:
    """The same of a setting, which may be a path with spaces."""
    return PurePath(text).name if text.startswith(("/", "~")) else _without_paths(text)

"""A trained run is shared to a folder or the Hub, and opened from there."""

import dataclasses
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import constants
from omegaconf import OmegaConf

import latentbench as package
from commands import files, latentbench, the_one_line
from hub_server import HubServer
from latentbench.cli import reproduce, share
from latentbench.cli.reproduce import command_of
from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed
from latentbench.errors import UserError
from latentbench.evaluation.build import build_seeded_model
from latentbench.records.record import FILE_NAME, WEIGHTS_NAME, Record, load
from latentbench.records.run_folder import CONFIG_NAME, save_images
from latentbench.running.job import Job, resolve
from latentbench.running.recording import save_trained_run

REPO = "me/vae-mnist"
SECRET = "/secret/place"
COMMAND = ("method=vae", "data=mnist", "regularizer=mmd", "backbone.hidden=[16]", "beta=2", "metric=[fid,nll]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with its first weights and invented numbers, made with settings of one machine."""
    output_dir = tmp_path_factory.mktemp("machine")
    machine = (f"output_dir={output_dir}", f"data.root={SECRET}", "logger.entity=my-account")
    config = composed(*COMMAND, *machine)
    chosen = OmegaConf.to_container(config.hydra.runtime.choices)
    job = Job(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]), chosen, [], True)
    resolved = resolve(job)
    data = few_digits()
    trainer: Any = SimpleNamespace(current_epoch=0, precision="32-true", world_size=1, checkpoint_callback=None)
    save_trained_run(resolved, build_seeded_model(resolved.config, data), data, trainer, {})
    record = load(resolved.folder / FILE_NAME)
    facts = {"metrics": {"fid": {"units": "", "higher_is_better": False}}}
    groups = ("metric", "sampler", "features")
    measuring = {name: OmegaConf.to_container(resolved.config[name], resolve=True) for name in groups}
    dataclasses.replace(
        record,
        status="finished",
        metrics={"fid/prior": 123.45, "fid/real": 1.5, "nll/test": 40.0},
        standard_errors={"fid/prior": 2.0, "nll/test": 0.5},
        caveats={"nll/test": "a loose upper bound"},
        skipped={"fid/gmm": f"{SECRET}/gmm.pt is missing: see https://a.b/c/d and {SECRET}/e"},
        config=record.config | measuring | {"resolved": record.config["resolved"] | facts},
    ).save(resolved.folder)
    save_images(resolved.folder, {"prior": data.splits.images["test"][:8].numpy()})
    return resolved.folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub, a token for it, and an empty cache."""
    server = HubServer(token="hf_ours")
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", server.token)
    monkeypatch.setattr(reproduce, "command_of", lambda record: None)  # which takes a second
    monkeypatch.chdir(tmp_path)
    yield server
    server.close()


def shared(*arguments: object) -> str:
    """What the command prints."""
    finished = latentbench(*map(str, arguments), program=share.main)
    assert finished.code == 0, finished.err
    return finished.out


def refused(*arguments: object) -> str:
    """The one line of a refused command."""
    finished = latentbench(*map(str, arguments), program=share.main)
    assert finished.code == 2
    return the_one_line(finished)


def test_a_run_is_sent_and_opened_again(run: Path, hub: HubServer) -> None:
    assert f"hf://{REPO}" in shared(run, f"repo={REPO}")
    sent = hub.repositories[REPO]
    assert set(sent) == {"README.md", CONFIG_NAME, WEIGHTS_NAME, FILE_NAME, "pictures/prior.png"}
    assert sent[WEIGHTS_NAME] == (run / WEIGHTS_NAME).read_bytes()
    opened = package.load(f"hf://{REPO}")
    assert torch.equal(opened.sample(3), package.load(run).sample(3))
    assert opened.record.metrics == load(run / FILE_NAME).metrics
    hub.close()
    assert package.load(f"hf://{REPO}").folder == opened.folder, "from the cache"


def test_a_shared_folder_opens_and_tells_nothing_of_the_machine(run: Path, hub: HubServer) -> None:
    assert shared(run, f"repo={REPO}", "--dry-run") == "vae-mnist\n"
    assert hub.requests == 0
    folder = Path("vae-mnist")
    assert torch.equal(package.load(folder).sample(3), package.load(run).sample(3))
    for name, content in files(folder).items():
        for word in (SECRET, "/secret", str(run.parents[1]), "my-account"):
            assert word.encode() not in content, name
    record = load(folder / FILE_NAME)
    assert (record.run_id, record.skipped) == (run.name, {"fid/gmm": "gmm.pt is missing: see https://a.b/c/d and e"})
    assert "vae-mnist exists: name another folder" in refused(run, f"repo={REPO}", "--dry-run")


def test_the_card_has_numbers_errors_floor_caveats_and_the_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shared(run, f"repo={REPO}", "--dry-run", "out=here")
    card = Path("here/README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "latentbench"
    table = [line.split("|")[1:-1] for line in card.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line] for line in table]
    assert header == ["", "prior", "test", "real (floor)"]
    assert rows == [["fid ↓", "123.5 ± 2.0", "", "1.5"], ["nll", "", "40.00 ± 0.50", ""]]
    for text in (
        "- nll/test: a loose upper bound",
        "- fid/gmm: gmm.pt is missing",
        "40 training images",
        f"hf://{REPO}",
    ):
        assert text in card
    words = re.search(r"^latentbench (.*)$", card, re.MULTILINE)[1].replace("'", "").split()
    assert " ".join(words) == "method=vae data=mnist regularizer=mmd metric=[fid,nll] beta=2.0 backbone.hidden=[16]"


def test_a_run_of_an_option_that_is_not_here_has_no_command(run: Path) -> None:
    record: Record = load(run / FILE_NAME)
    assert command_of(dataclasses.replace(record, choices=record.choices | {"prior": "theirs"})) is None
    assert command_of(dataclasses.replace(record, run_id="another")) is None


def test_the_command_of_a_run_that_is_not_measured_yet(run: Path) -> None:
    record = load(run / FILE_NAME)
    trained = {key: value for key, value in record.config.items() if key not in ("metric", "sampler", "features")}
    command = command_of(dataclasses.replace(record, status="trained", config=trained))
    assert command == "latentbench method=vae data=mnist regularizer=mmd beta=2.0 'backbone.hidden=[16]'"


def test_what_cannot_be_shared_is_one_line(
    run: Path, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "name one run folder" in refused(f"repo={REPO}")
    assert "there is no such key" in refused(run, f"to={REPO}")
    assert "<user or organization>/<name>" in refused(run, "repo=vae")
    assert "add --dry-run" in refused(run, f"repo={REPO}", "out=x")
    assert "is not the folder of a trained run" in refused(tmp_path, f"repo={REPO}")
    cut = shutil.copytree(run, tmp_path / "cut")
    (cut / WEIGHTS_NAME).write_bytes((cut / WEIGHTS_NAME).read_bytes()[:-9])
    assert "cannot be read" in refused(cut, f"repo={REPO}")
    assert "not the name of a repository" in refused(run, "repo=me/a--b")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "your token was refused" in refused(run, f"repo={REPO}")
    hub.close()
    assert "the Hugging Face Hub cannot be reached" in refused(run, f"repo={REPO}")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for name in [name for name in sys.modules if name.startswith("huggingface_hub.")]:
        monkeypatch.delitem(sys.modules, name)
    assert "pip install 'latentbench[hub]'" in refused(run, f"repo={REPO}")


def test_what_cannot_be_opened_is_one_line(run: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {name: (run / name).read_bytes() for name in (CONFIG_NAME, WEIGHTS_NAME, FILE_NAME)}
    call = good[CONFIG_NAME].replace(b"latentbench.models.autoencoder.Autoencoder", b"os.system")
    in_record = good[FILE_NAME].replace(b"latentbench.metrics.frechet_distance.FrechetDistance", b"os.popen")
    hidden = good[CONFIG_NAME].replace(b"binarize: none", b"binarize: ${oc.env:HOME}")
    assert len({good[CONFIG_NAME], call, hidden}) == 3
    repositories = {
        "me/none": (None, "there is no such repository"),
        "me/bert": ({"config.json": b"{}"}, f"is not a run of latentbench: it has no {CONFIG_NAME}"),
        "me/empty": (good | {CONFIG_NAME: b"a: 1"}, "is not the config of a run"),
        "me/call": (good | {CONFIG_NAME: call}, "os.system is not an option of latentbench"),
        "me/record": (good | {FILE_NAME: in_record}, "os.popen is not an option of latentbench"),
        "me/hidden": (good | {CONFIG_NAME: hidden}, "have the interpolation"),
    }
    hub.repositories |= {repo: content for repo, (content, _) in repositories.items() if content is not None}
    for repo, (_, message) in repositories.items():
        with pytest.raises(UserError, match=re.escape(message)) as error:
            package.load(f"hf://{repo}")
        assert "\n" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(UserError, match="your token was refused"):
        package.load("hf://me/unseen")
    hub.close()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between retries
    with pytest.raises(UserError, match="the Hugging Face Hub cannot be reached"):
        package.load("hf://me/unseen")

"""The weight `beta`: a number or a formula, and what a record and a table say if it is another likelihood's."""

import pytest
from omegaconf import OmegaConf

from example_records import a_record
from latentbench.configuration.weight import work_out
from latentbench.contracts.images import few_digits
from latentbench.contracts.options import composed
from latentbench.errors import UserError
from latentbench.evaluation.build import build_model
from latentbench.reporting.summarize import summarize
from latentbench.running import job


@pytest.mark.parametrize(
    ("beta", "value"),
    [(0, 0), (2.5, 2.5), ("10 * pixels", 640), ("2*5e-4*pixels/latents", 0.008), ("(pixels - 4) / 2 + latents", 38)],
)
def test_a_formula_is_the_number_it_works_out_to(beta: float | str, value: float) -> None:
    assert work_out(beta, pixels=64, latents=8) == pytest.approx(value)


@pytest.mark.parametrize(
    "beta",
    [-1, "-1", "1 - pixels", "ten", "10 * pixel", "pixels ** 9", "1 / (pixels - 64)", "inf", "nan", "1e999", True,
     "True", None, [1], "", "__import__('os')", "pixels.real", "latents if 1 else 2", "(" * 500],
)  # fmt: skip
def test_anything_else_is_refused(beta: object) -> None:
    with pytest.raises(UserError, match="give a number, 0 or more, or a formula of pixels and latents such as 10"):
        work_out(beta, pixels=64, latents=8)


def test_a_model_gets_the_number_for_its_images_and_latents() -> None:
    model = build_model(composed("method=wae_mmd", "beta='3 * pixels / latents'", "latent_size=6"), few_digits())
    assert model.beta == 32
    assert model.facts()["beta"] == 32


def caveat(*overrides: str) -> str | None:
    """What the record of the run that a command would make says of its weight."""
    config = composed(*overrides)
    chosen = config.hydra.runtime.choices
    config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return job.resolve(job.Job(config, chosen, [], is_alone=True)).weight_caveat


@pytest.mark.parametrize("other", ["likelihood=continuous_bernoulli", "likelihood=gaussian", "likelihood.scale=0.1"])
def test_a_published_weight_beside_another_likelihood_is_named(other: str) -> None:
    assert caveat("method=wae_mmd") is None
    found = caveat("method=wae_mmd", other)
    assert found is not None
    assert found.startswith("weight of another likelihood: published beside likelihood=squared_error, here beside ")
    assert caveat("method=wae_mmd", other, "beta=3") is None, "not the published weight"
    assert caveat("method=vae", "likelihood=gaussian") is None, "a bound has weight 1 with any likelihood"


def test_a_table_names_the_rows_with_the_weight_of_another_likelihood() -> None:
    facts = {"weight_caveat": "weight of another likelihood: published beside likelihood=a, here beside b"}
    runs = [a_record("wae_mmd", seed, config={"resolved": facts}) for seed in (0, 1)]
    (note,) = [n for n in summarize([*runs, a_record("vae")], rows=["method"]).notes if "another likelihood" in n]
    assert note == f"caveat: wae_mmd: {facts['weight_caveat']}"


def test_a_table_tells_the_budget_of_every_row() -> None:
    def trained(method: str, steps: dict[str, int], seconds: float) -> object:
        facts = {"train_images": 1000, "steps": steps}
        return a_record(method, config={"resolved": facts}, seconds={"fit": seconds}, n_parameters=1000, max_epochs=2)

    given = [trained("vae", {"model": 50}, 3), trained("aae", {"critic": 50, "model": 50}, 2)]
    assert [n for n in summarize(given, rows=["method"]).notes if n.startswith("budget")] == [
        "budget: images seen in training: 2,000; steps of the model or generator: 50; "
        "steps of the critic: 50; seconds of training: 2 to 3; "
        "parameters, critics included: 1,000 to 1,000"
    ]
    given += [trained("wgan_gp", {"generator": 10, "discriminator": 50}, 9.4)]
    (note,) = [n for n in summarize(given, rows=["method"]).notes if n.startswith("budget")]
    assert "steps of the model or generator: 50, 10 of wgan_gp; steps of the critic: 50;" in note
    assert "steps of the discriminator: 50;" in note


def test_a_budget_counts_batches_that_were_left_out_and_every_seed() -> None:
    def images_seen(*epochs: int, **trainer: int) -> str:
        runs = []
        for seed, ran in enumerate(epochs):
            facts = {"train_images": 1000, "steps": {"model": 4 * ran}, "ran": {"epochs": ran}}
            runs.append(a_record(seed=seed, config={"resolved": facts, "trainer": {"max_epochs": 50} | trainer}))
        (note,) = [n for n in summarize(runs, rows=["method"]).notes if n.startswith("budget")]
        return note

    assert "training: 2,000; steps of the model or generator: 8;" in images_seen(2, 2)
    assert "training: 2,000 to 5,000; steps of the model or generator: 8 to 20;" in images_seen(2, 5)
    assert "training: 256;" in images_seen(2, limit_train_batches=4), "two epochs of four batches of 32"
    assert "training: 2,000;" in images_seen(2, limit_train_batches=40)

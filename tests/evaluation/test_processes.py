"""Neither batches, nor their order, nor the number of processes changes the value of a metric."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor
from torch.nn.functional import avg_pool2d

from commands import forking
from latentbench.contracts.images import SPLITS, GivenImages, few_digits
from latentbench.contracts.options import brief_metric, inputs, options, part_of, untrained
from latentbench.data.base import ImageData, Splits
from latentbench.evaluation.evaluate import evaluate
from latentbench.metrics.aggregate_posterior import AggregatePosterior
from latentbench.metrics.base import ImageMetric, ModelMetric
from latentbench.metrics.class_share import OTHER_CLASSES
from latentbench.metrics.inputs import MetricInputs
from latentbench.models.base import GenerativeModel
from latentbench.records.measuring import Evaluation

N, PROCESSES = 60, 2
SOME = ("fid", "kid", "prdc", "rate")


@pytest.fixture(scope="module")
def batch_metrics() -> list[str]:
    """Metrics that are updated with batches of images or features."""
    return [option for option in options("metric") if isinstance(brief_metric(option), ImageMetric | ModelMetric)]


def example_inputs() -> MetricInputs:
    """Real images, blurred images and a model."""
    data = few_digits(N)
    return inputs(
        data.images("test"),
        data=data,
        model=untrained(data, "latent_size=2").eval(),
        features=part_of("features", "classifier", data_name="digits", shape=data.shape),
        images={"prior": 0.9 * avg_pool2d(data.images("train"), 3, stride=1, padding=1)},
    )


def update_arguments(metric: Any, metric_inputs: MetricInputs, size: int) -> list[tuple[Any, ...]]:
    """The arguments of `update`, in batches."""
    if isinstance(metric, ModelMetric):
        return [(metric_inputs.model, batch) for batch in metric_inputs.held_out.split(size)]
    return [(batch,) for batch in metric.values_of(metric_inputs, "prior").split(size)]


def computed(
    option: str, metric_inputs: MetricInputs, size: int, chosen: Sequence[int] | slice, *, seed: int = 0
) -> dict[str, float]:
    """Values and standard errors of a metric on the chosen batches. Each batch has its own seed, in any process."""
    made = brief_metric(option)
    if isinstance(made, ImageMetric):
        made.prepare_reference(metric_inputs)
    made.reset()
    batches = list(enumerate(update_arguments(made, metric_inputs, size)))
    for i, batch in batches[chosen] if isinstance(chosen, slice) else [batches[j] for j in chosen]:
        torch.manual_seed(seed + i)
        made.update(*batch)
    found = {}
    for name, (value, error, _) in made.compute().items():
        found[name] = value.item()
        if error is not None:
            found[f"standard error of {name}"] = error.item()
    return found


def in_a_process(rank: int, folder: str, names: list[str]) -> None:
    """Every metric on the batches of this process, combined with those of the other."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
    with torch.no_grad():
        metric_inputs = example_inputs()
        found = {name: computed(name, metric_inputs, 10, slice(rank, None, PROCESSES)) for name in names}
    torch.save((found, evaluated(few_digits(N), *SOME).metrics), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


class Measured(NamedTuple):
    """What one of two processes measured: of its own batches, and of all images while the other does so too."""

    of_batches: dict[str, dict[str, float]]
    evaluated: dict[str, float]


@pytest.fixture(scope="module")
def two_processes(batch_metrics: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Measured]:
    """What each of two processes measured; started once, since a start takes longer than the rest."""
    folder = tmp_path_factory.mktemp("two_processes")
    method = forking().get_start_method()
    arguments = (str(folder), batch_metrics)
    torch.multiprocessing.start_processes(in_a_process, arguments, nprocs=PROCESSES, start_method=method)
    return [Measured(*torch.load(folder / f"{rank}.pt")) for rank in range(PROCESSES)]


@pytest.fixture(scope="module")
def alone(batch_metrics: list[str]) -> Iterator[dict[str, dict[str, float]]]:
    """Every metric in a single process."""
    with torch.no_grad():
        metric_inputs = example_inputs()
        yield {name: computed(name, metric_inputs, 10, slice(None)) for name in batch_metrics}


def assert_same(found: dict[str, float], known: dict[str, float]) -> None:
    """Equal up to rounding: float32 numbers are summed in another order, and roots are taken of numbers near 0."""
    assert set(found) == set(known)
    for name, value in known.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_two_processes_give_what_one_gives(
    two_processes: list[Measured], batch_metrics: list[str], alone: dict[str, dict[str, float]]
) -> None:
    for measured, name in itertools.product(two_processes, batch_metrics):
        assert_same(measured.of_batches[name], alone[name])


def evaluated(data: ImageData, *names: str, model: GenerativeModel | None = None) -> Evaluation:
    """The evaluation of a model, by default an untrained one."""
    return evaluate(
        model=model or untrained(data),
        data=data,
        samplers={"prior": part_of("sampler", "prior"), "gmm": part_of("sampler", "gmm")},
        features={"classifier": part_of("features", "classifier", data_name="digits", shape=data.shape)},
        metrics={name: brief_metric(name) for name in names},
        seed=0,
        device=torch.device("cpu"),
    )


def test_images_that_every_process_has_are_counted_once(two_processes: list[Measured]) -> None:
    for measured in two_processes:
        assert measured.evaluated == evaluated(few_digits(N), *SOME).metrics


def test_the_order_in_which_images_lie_in_their_files_changes_no_bit_of_any_number() -> None:
    digits = few_digits(N).splits
    factors = {split: torch.randint(3, (N, 2)) for split in SPLITS}
    made = []
    for shuffle in (False, True):
        order = {split: torch.randperm(N) if shuffle and split != "train" else torch.arange(N) for split in SPLITS}
        parts = (digits.images, digits.labels, factors)
        shuffled = Splits(*({split: of[split][order[split]] for split in SPLITS} for of in parts))
        data = GivenImages(shuffled, name="digits")
        data.factor_names = ("shape", "colour")
        made.append(evaluated(data, *options("metric")))
    one, other = made
    assert one.metrics == other.metrics
    assert one.standard_errors == other.standard_errors
    assert {key.split("/")[0] for key in one.metrics} > {"nll", "ais", "rate", "dci_informativeness", "mig", "parzen"}


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize(
    "method", ["vae", "ae", "mixture_vae", "iaf_vae", "svae", "uniform_vae", "categorical_vae", "vq_vae"]
)
def test_metrics_of_broken_networks_are_skipped_with_a_reason(part: str, method: str) -> None:
    data = few_digits(N)
    model: Any = untrained(data, f"method={method}")
    with torch.no_grad():
        next(getattr(model.backbone, part).parameters()).fill_(torch.nan)
    made = evaluated(data, *options("metric"), model=model)
    assert "images have" in made.skipped["fid/reconstruction"]
    without_encoder = {"ais", "ais_gap"}
    of_codes = {"active_units", *AggregatePosterior.quantities, "rate", "prior_mmd"}
    for key in made.metrics:
        quantity, _, of_what = key.partition("/")
        of_decoder = of_what == "prior" or quantity in without_encoder
        is_of_the_other = of_decoder if part == "encoder" else quantity in of_codes
        assert of_what in ("real", OTHER_CLASSES) or is_of_the_other, key


def test_the_order_batch_metrics_does_not_matter(batch_metrics: list[str], alone: dict[str, dict[str, float]]) -> None:
    metric_inputs = example_inputs()
    with torch.no_grad():
        for name in batch_metrics:
            assert_same(computed(name, metric_inputs, 10, [3, 0, 5, 2, 4, 1]), alone[name])


@pytest.mark.parametrize("size", [7, N])
def test_the_size_batch_metrics_does_not_matter_where_nothing_is_drawn(size: int, batch_metrics: list[str]) -> None:
    metric_inputs = example_inputs()
    with torch.no_grad():
        for name in batch_metrics:
            one, other = (computed(name, metric_inputs, 10, slice(None), seed=seed) for seed in (0, 1000))
            if one == other:
                assert_same(computed(name, metric_inputs, size, slice(None)), one)


def test_metrics_of_non_finite_features_are_skipped_with_a_reason() -> None:
    data = few_digits(N)
    features = part_of("features", "classifier", data_name="digits", shape=data.shape)
    dazzling = torch.full_like(data.images("test"), 1e38)
    metric_inputs = inputs(data.images("test"), data=data, features=features, images={"prior": dazzling})
    for option in ("fid", "fid_infinity", "kid", "prdc"):
        measured = brief_metric(option).measure(metric_inputs)
        assert not measured.values
        assert set(measured.skipped.values()) == {f"{N} of {N} images have features that are not finite numbers"}


def degenerate() -> dict[str, tuple[Tensor, Tensor]]:
    """Reference and set that could break a metric, of images large enough for every metric."""
    some, alike = torch.rand(20, 1, 8, 8), torch.rand(1, 1, 8, 8)
    dot = torch.zeros(20, 1, 8, 8)
    dot[:, :, 4, 4] = torch.rand(20, 1)
    return {
        "samples all alike": (some, alike.repeat(20, 1, 1, 1)),
        "everything alike": (alike.repeat(20, 1, 1, 1), alike.repeat(20, 1, 1, 1)),
        "black": (some, torch.zeros_like(some)),
        "everything black": (torch.zeros_like(some), torch.zeros_like(some)),
        "one pixel that differs": (dot, dot.flip(0)),
        "a copy": (some, some.flip(0)),
        "one image": (some[:1], alike),
        "two images": (some[:2], some[2:4]),
    }


@pytest.mark.parametrize("kind", degenerate())
@pytest.mark.parametrize("features", ["pixels", "classifier"])
def test_degenerate_sets_have_a_value_or_a_reason_for_every_key(kind: str, features: str) -> None:
    reference, images = degenerate()[kind]
    data = few_digits(len(reference))
    metric_inputs = inputs(
        reference,
        data=data,
        features=part_of("features", features, data_name="digits", shape=data.shape),
        images={"prior": images, "real": reference.flip(0)},
    )
    for option in options("metric"):
        made = brief_metric(option)
        if isinstance(made, ImageMetric):
            measured = made.measure(metric_inputs)  # raises nothing
            keys = {f"{name}/prior" for name in made.quantities}
            assert keys <= set(measured.values) | set(measured.skipped)
            assert all(len(reason.split()) > 3 for reason in measured.skipped.values())
            if kind == "a copy" and option in ("fid", "prdc", "kid"):
                # A root of what rounding leaves of 0; shares of counts; nearer than another draw.
                known = {"fid": 0, "precision": 1, "recall": 1, "coverage": 1}
                for name in known.keys() & made.quantities.keys():
                    assert measured.values[f"{name}/prior"] == pytest.approx(known[name], abs=1e-4)
                assert option != "kid" or measured.values["kid/prior"] < 0

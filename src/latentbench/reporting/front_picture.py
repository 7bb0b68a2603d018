"""`python -m latentbench.reporting.front_picture`: the picture of the front page, from published images.

Samples of the same methods on several data sets, below real images.
"""

from collections.abc import Sequence
from pathlib import Path

from latentbench.errors import UserError
from latentbench.records.record import Record
from latentbench.records.store import load_published
from latentbench.reporting import plots
from latentbench.reporting.image_grids import load_arrays
from latentbench.reporting.plots import Images, SampleRow

RESULTS = Path("results")
STEM = RESULTS / "front"
BLOCKS = {  # study and data
    "dogs/folder": "photographs of dogs, 32x32",
    "families/fashion_mnist": "clothes, 28x28",
    "tuned/digits": "digits, 8x8",
}
# Label -> method and image set.
LINES = {
    "real images": ("vae", "real"),
    "autoencoder, N(0, I)": ("ae", "prior"),
    "autoencoder, fitted mixture": ("ae", "gmm"),
    "VAE": ("vae", "prior"),
    "VAE, VampPrior": ("vampprior_vae", "prior"),
    "Wasserstein autoencoder": ("wae_mmd", "prior"),
    "GAN": ("gan", "prior"),
}
PER_BLOCK = 8


def main() -> None:
    found = {block: _images(RESULTS / block) for block in BLOCKS}
    rows = [SampleRow(label, {block: found[block][label] for block in BLOCKS}) for label in LINES]
    print(*plots.save(plots.sample_grid(rows, BLOCKS, per_block=PER_BLOCK), STEM), sep="\n")


def _images(folder: Path) -> dict[str, Images]:
    """The images of each line, of a published study on one data set."""
    records = load_published(folder)
    return {
        label: load_arrays(folder.parent, shown(records, method))[image_set]
        for label, (method, image_set) in LINES.items()
    }


def shown(records: Sequence[Record], method: str) -> Record:
    """The finished run of a method with most latents and the lowest seed.

    As the study has tuned the method; where it has not, at the weight of the method's preset.
    Raises: UserError if there is none.
    """
    of_method = [
        record
        for record in records
        if record.choices["method"] == method
        and record.status == "finished"
        and (trial_of(record) or record.choices["beta"] in (None, record.preset.get("beta")))
    ]
    if not of_method:
        raise UserError(f"no finished run of {method}")
    return min(
        of_method, key=lambda record: (not trial_of(record), -record.choices["latent_size"], record.choices["seed"])
    )


def trial_of(record: Record) -> int:
    """The trial whose settings a run has; 0: none, its method as it is."""
    trial: int = record.choices.get("trial", 0)
    return trial


if __name__ == "__main__":
    main()

"""The model card of a shared run: its numbers, caveats, data and settings, as Markdown."""

from collections.abc import Iterable, Iterator, Mapping

from tabulate import tabulate

from latentbench.configuration.catalogue import TRAINING_GROUPS, option_description, option_files
from latentbench.records.record import Record
from latentbench.reporting.columns import describe_column
from latentbench.reporting.formats import PLUS_MINUS, escape_markdown
from latentbench.reporting.notes import features_and_counts
from latentbench.reporting.run_cards import measures_of
from latentbench.reporting.summary import format_value

FLOOR = "real"  # the image set of real images, which every other set is compared with
NO_COMMAND = "No command with the options of latentbench alone gives this run: `config.yaml` has all of its settings."


def model_card(record: Record, *, repo: str, command: str | None, pictures: Mapping[str, str]) -> str:
    """A document with the metadata that the Hugging Face Hub reads.

    repo: the repository that the run is opened from
    command: trains and measures the run; None: no command is known
    pictures: file -> caption
    """
    choices = record.choices
    tags = ["latentbench", *(str(choices[group]) for group in ("method", "data") if choices.get(group))]
    version = (record.environment.get("packages") or {}).get("latentbench") or "of an unknown version"
    commit = record.environment.get("git_commit")
    parts = [
        "\n".join(["---", "library_name: latentbench", "tags:", *(f"- {tag}" for tag in tags), "---"]),
        f"# {repo.rpartition('/')[2]}",
        f"A model trained by latentbench {version}{f' (commit {commit})' * bool(commit)}: {record.n_parameters} "
        f"parameters, {choices['latent_size']} latent dimensions{_positions(record)}, "
        f"beta {format_value(choices['beta'])}, seed {choices['seed']}.",
        _code("python", "import latentbench", "", f'run = latentbench.load("hf://{repo}")', "images = run.sample(64)"),
        "This needs `pip install 'latentbench[hub]'`. `load` also takes a folder that has these files.",
        "## Numbers",
        *_numbers(record),
        "## Caveats",
        _list(_by_text(record.caveats)) or "None is recorded.",
        *(["## Not measured", _list(_by_text(record.skipped))] if record.skipped else []),
        "## Data and parts",
        _list([_data(record), *_parts(record)]),
        "## Reproduce",
        _code("sh", command) if command else NO_COMMAND,
        "The same versions on the same kind of processor give the same numbers; others may differ in rounding. "
        "Versions and hardware are in `record.json`.",
    ]
    if pictures:
        shown = [f"{escape_markdown(caption)}\n\n![{name}]({name})" for name, caption in pictures.items()]
        parts += ["## Pictures", *shown]
    return "\n\n".join(parts) + "\n"


def _numbers(record: Record) -> list[str]:
    """The table of numbers with its notes."""
    measures = measures_of(record)
    if not measures:
        return ["It is not measured yet."]
    names = sorted({name for numbers in measures.values() for name in numbers}, key=lambda name: (name == FLOOR, name))
    header = ["", *(f"{name} (floor)" if name == FLOOR else name for name in names)]
    rows = [
        [describe_column([record], quantity).heading, *(numbers.get(name, "") for name in names)]
        for quantity, numbers in measures.items()
    ]
    table = tabulate(
        [[escape_markdown(cell) for cell in row] for row in rows], header, tablefmt="pipe", disable_numparse=True
    )
    notes = [
        f"Columns are sets of images. {PLUS_MINUS}: one standard error within this run, not over seeds; no error where "
        "none is known.",
        *([f"{FLOOR} (floor): what other real images score, the best to hope for."] if FLOOR in names else []),
        *features_and_counts({"": [record]}, record.metrics),
    ]
    return [table, _list(notes)]


def _data(record: Record) -> str:
    """The size of the data."""
    facts = record.config.get("resolved") or {}
    binarize = record.config["data"].get("binarize", "none")
    shape = " x ".join(map(str, facts["shape"]))
    return f"{facts['train_images']} training images of channels x height x width {shape}, binarize: {binarize}"


def _positions(record: Record) -> str:
    """Where the latent dimensions are, if not in one vector."""
    shape = (record.config.get("resolved") or {}).get("latent_shape")
    return f" at each of {shape[1]}x{shape[2]} positions" if shape else ""


def _parts(record: Record) -> Iterator[str]:
    """The option of every group, and what it is."""
    for group in TRAINING_GROUPS:
        if option := record.choices.get(group):
            files = {path.stem: path for path in option_files(group)}
            text = escape_markdown(option_description(files[option])) if option in files else ""
            yield f"{group}: `{option}`{f': {text}' * bool(text)}"


def _by_text(texts: Mapping[str, str]) -> list[str]:
    """A line for all keys that have the same text."""
    keys: dict[str, list[str]] = {}
    for key, text in sorted(texts.items()):
        keys.setdefault(text, []).append(key)
    return [escape_markdown(f"{', '.join(names)}: {' '.join(text.split())}") for text, names in keys.items()]


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _code(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])

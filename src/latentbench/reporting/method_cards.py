"""A page per method for the site: what it minimises, its paper, what may be tuned, where it stands, its samples."""

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from latentbench.configuration.catalogue import CONF_DIR, option_description, own_options, preset
from latentbench.errors import UserError
from latentbench.records.record import Record
from latentbench.records.store import images_of, load_records
from latentbench.reporting.formats import escape_markdown
from latentbench.reporting.front_picture import shown, trial_of
from latentbench.reporting.image_grids import enlarge, load_arrays, pictures, to_png
from latentbench.reporting.published_study import PublishedStudy, Standing, widest_studies

SHOWN = ("prior", "gmm", "reconstruction", "real")  # image sets, in this order
LINES = 2  # of eight images each, for an image set
NOTES = (
    "The features, the numbers of images and every caveat stand in the notes of the study's table: read them before "
    "you quote a number."
)
READ = {"seen": "The source was read.", "recalled": "The source was not at hand: this is recalled."}


def write_cards(folder: Path, studies: Sequence[PublishedStudy]) -> None:
    """Write `<method>.md` for each of latentbench's methods, its pictures, and README.md, their list."""
    folder.mkdir(parents=True)
    widest = widest_studies(list(studies))
    of_data = {data: _Shown(study) for data, study in widest.items()}
    for method in own_options("method"):
        samples = [part for data in sorted(of_data) for part in of_data[data].parts(method, folder)]
        text = "\n\n".join([*_what_it_is(method), *_standings(method, studies), *samples])
        (folder / f"{method}.md").write_text(f"{text}\n", encoding="utf-8")
    (folder / "README.md").write_text(_list_of_methods(widest), encoding="utf-8")


def _what_it_is(method: str) -> list[str]:
    path = CONF_DIR / "method" / f"{method}.yaml"
    yaml = path.read_text(encoding="utf-8")
    told = OmegaConf.load(path).published
    parts = [f"# {method}", option_description(path), "## What it minimises", f"```text\n{told.loss}\n```"]
    facts = [("Paper", told.source), ("Read", READ.get(told.read, f"{told.read}.")), ("Published for", told.images)]
    facts += [("What differs here", told.differs)] if told.differs else []
    parts.append("\n".join(f"- **{name}:** {escape_markdown(fact)}" for name, fact in facts))
    parts += ["Its parts here ([all there are](../docs/options.md)):", _parts(method)]
    search = re.search(r"^search:\n(?:[ #].*\n)+", yaml, re.MULTILINE)
    text = f"```yaml\n{search[0].rstrip()}\n```" if search else "Nothing."
    return [*parts, "## What may be tuned", "[How methods are tuned alike](../docs/tuning.md).", text]


def _parts(method: str) -> str:
    lines = ["| choice | option | what it is |", "|---|---|---|"]
    for group, option in preset(method).items():
        path = CONF_DIR / group / f"{option}.yaml"
        lines.append(
            f"| `{group}` | `{option}` | {escape_markdown(option_description(path)) if path.is_file() else ''} |"
        )
    return "\n".join(lines)


def _standings(method: str, studies: Sequence[PublishedStudy]) -> list[str]:
    lines = ["| study | row | mean rank | rows | fid/prior |", "|---|---|--:|--:|--:|"]
    for study in studies:
        for row in study.standings(method):
            lines.append(
                f"| {_link(study)} | {escape_markdown(row.settings)} | {row.rank} | {row.n_rows} | {row.fid} |"
            )
    if len(lines) == 2:
        return ["## Where it stands", "No study with this method is published yet."]
    told = (
        "Mean rank over the columns of the study's table, among its rows; `fid/prior` with half of its 95 % confidence "
        "interval, lower is better. Ranks and distances of different studies and data sets cannot be compared. "
        f"{NOTES}"
    )
    return ["## Where it stands", "\n".join(lines), told]


class _Shown:
    """The study whose images the cards show for a data set."""

    def __init__(self, study: PublishedStudy) -> None:
        self.study = study
        self.folder = study.results / study.name
        records, _ = load_records(self.folder)
        self.records = [r for r in records if r.choices["data"] == study.data and images_of(self.folder, r).is_file()]

    def parts(self, method: str, folder: Path) -> list[str]:
        """A section with the images of the method's run that the front page would show; none without one.

        Writes them to `folder`.
        """
        try:
            run = shown(self.records, method)
        except UserError:
            return []
        arrays = load_arrays(self.folder, run)
        made = pictures({key: arrays[key] for key in (*SHOWN, "original") if key in arrays}, lines=LINES)
        parts = [f"## Samples on {self.study.data}", f"Run `{run.run_id}` of {_link(self.study)}, {_settings(run)}."]
        for key in [key for key in SHOWN if key in made]:
            name = f"{method}-{self.study.data}-{key}.png"
            (folder / name).write_bytes(to_png(enlarge(made[key])))
            caption = made[key].caption.capitalize()
            parts.append(f"![{caption}]({name}){{ .grid }}\n<br>{caption}.")
        return parts


def _settings(run: Record) -> str:
    latents = run.choices["latent_size"]
    trial = trial_of(run)
    return f"{latents} latent{'s' if latents != 1 else ''}, " + (f"tuned: trial {trial}" if trial else "the preset")


def _list_of_methods(widest: dict[str, PublishedStudy]) -> str:
    data_sets = sorted(widest)
    heads = [f"[fid/prior on {data}]({_address(widest[data])})" for data in data_sets]
    lines = [f"| {' | '.join(['method', 'what it is', *heads])} |", "|---|---" + "|--:" * len(heads) + "|"]
    floors = [widest[data].floor for data in data_sets]
    lines.append(f"| {' | '.join(['real images', 'the floor: other real images, as many', *floors])} |")
    for method in own_options("method"):
        what = option_description(CONF_DIR / "method" / f"{method}.yaml")
        fids = ["<br>".join(map(_of_row, widest[data].standings(method))) for data in data_sets]
        lines.append(f"| {' | '.join([f'[{method}]({method}.md)', escape_markdown(what), *fids])} |")
    told = (
        "A card for each: what it minimises, its paper, what may be tuned, where it stands in each study, its samples. "
        f"{NOTES}"
    )
    return "\n\n".join(["# Methods", told, "\n".join(lines)]) + "\n"


def _of_row(row: Standing) -> str:
    return f"{row.fid} ({row.settings})" if row.settings else row.fid


def _link(study: PublishedStudy) -> str:
    return f"[{study.title}]({_address(study)})"


def _address(study: PublishedStudy) -> str:
    return f"../results/{study.folder.relative_to(study.results)}/table.md"

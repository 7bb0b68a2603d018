"""A published study as the site shows it: a folder of `results` with a table, and with it figures and records."""

import csv
import dataclasses
import functools
import posixpath
import re
from pathlib import Path

from latentbench.records.store import TRIALS_NAME
from latentbench.reporting.formats import PLUS_MINUS, decimals
from latentbench.reporting.summary import FLOOR, format_value

FID = "fid/prior"
FILES = {
    "table.csv": "CSV",
    "table.tex": "LaTeX",
    "published.csv": "published numbers",
    "tuning.csv": "chosen settings",
    "best_of_trials.csv": "best of n trials",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """A row of a study's table.

    settings: what tells it from the other rows of its method
    rank: mean rank over the columns of the table; empty without one
    n_rows: the rows that have a rank
    fid: `fid/prior`, mean and half-width of its 95 % confidence interval; empty without one, the status if not finished
    """

    settings: str
    rank: str
    n_rows: int
    fid: str


@dataclasses.dataclass(frozen=True)
class PublishedStudy:
    """A folder with a table.md: `results/<study>/<data>`, or a folder in it for one of several rules of choice."""

    results: Path
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.relative_to(self.results).parts[0]

    @property
    def data(self) -> str:
        return self.folder.relative_to(self.results).parts[1]

    @property
    def records(self) -> Path:
        """The folder with the records of all its rules."""
        return self.results / self.name / self.data

    @property
    def title(self) -> str:
        """Such as `beta on digits`, and the rule of choice if there are several."""
        study, data, *rule = self.folder.relative_to(self.results).parts
        return " ".join([f"{study} on {data}", *(f"by {name}" for name in rule)])

    @functools.cached_property
    def _lines(self) -> list[dict[str, str]]:
        path = self.folder / "table.csv"
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of its table.csv without those of real images; empty if it trained no model."""
        return [row for row in self._lines if row["status"] != FLOOR]

    @property
    def floor(self) -> str:
        """The `fid/prior` of real images; empty if it is not known."""
        return next((_with_interval(row) for row in self._lines if row["status"] == FLOOR), "")

    @property
    def methods(self) -> set[str]:
        """The methods that its rows name; empty if the rows are told apart by other settings alone."""
        return {row["method"] for row in self.rows if "method" in row}

    def standings(self, method: str) -> list[Standing]:
        """Every row of a method, in the order of the table."""
        n_rows = sum(bool(row["rank"]) for row in self.rows)
        return [_standing(row, n_rows) for row in self.rows if row.get("method") == method]

    def page(self, reports: list[Path]) -> str:
        """Its table.md, with links to its other files and its figures above the table.

        reports: web pages of the study, by their paths in the folder of all its data sets
        """
        text = (self.folder / "table.md").read_text(encoding="utf-8")
        start = re.search(r"^(\||## )", text, re.MULTILINE)
        assert start, f"{self.folder}/table.md has no table"
        head, table = text[: start.start()].rstrip(), text[start.start() :]
        up = "../" * (len(self.folder.relative_to(self.results).parts) - 1)
        links = [f"[what it found: {line}]({up}../README.md#{anchor(line)})" for line in self._sections()]
        links += [f"[every run, in a sortable report{_of(report)}]({up}{report})" for report in reports]
        trials = posixpath.normpath(f"{posixpath.relpath(self.records, self.folder)}/{TRIALS_NAME}")
        files = {trials: "records of trials"} | FILES
        links += [f"[{text}]({name})" for name, text in files.items() if (self.folder / name).is_file()]
        figures = sorted(self.folder.glob("*.png"), key=lambda path: (path.stem != "samples", path.stem))
        shown = [f"[![{_title(path)}]({path.name})]({path.with_suffix('.pdf').name})" for path in figures]
        parts = [head, " · ".join(links), *(["## Figures", *shown] if shown else []), *_headed(table)]
        return "\n\n".join(parts)

    def _sections(self) -> list[str]:
        """The headings of results/README.md that are about it."""
        path = self.results / "README.md"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return re.findall(rf"^## ({re.escape(self.name)}\b.*)$", text, re.MULTILINE)


def published_studies(results: Path) -> list[PublishedStudy]:
    """All of them, by name."""
    return [PublishedStudy(results, path.parent) for path in sorted(results.glob("*/*/**/table.md"))]


def widest_studies(studies: list[PublishedStudy]) -> dict[str, PublishedStudy]:
    """Data set -> the study with most methods on it, the shortest of them; data sets of studies with methods alone."""
    with_methods = [study for study in studies if study.methods]
    ordered = sorted(with_methods, key=lambda study: (len(study.methods), -len(study.rows)))
    return {study.data: study for study in ordered}


def anchor(heading: str) -> str:
    """The address of a heading within its page."""
    return re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-")


def _standing(row: dict[str, str], n_rows: int) -> Standing:
    keys = list(row)
    own = [key for key in keys[: keys.index("status")] if key != "method" and row[key]]
    settings = [f"{key}={_value(row[key])}" for key in own]
    rank = f"{float(row['rank']):.1f}" if row["rank"] else ""
    fid = row["status"] if row["status"] != "finished" else _with_interval(row)
    return Standing(settings=", ".join(settings), rank=rank, n_rows=n_rows, fid=fid)


def _value(text: str) -> str:
    """A value as tables show it, such as 1 for 1.0."""
    try:
        return text if text.isdigit() else format_value(float(text))
    except ValueError:
        return text


def _with_interval(row: dict[str, str]) -> str:
    if not row.get(f"{FID}.mean"):
        return ""
    mean, interval = float(row[f"{FID}.mean"]), float(row[f"{FID}.ci95"] or "nan")
    places = max(0, decimals(mean, interval))
    return f"{mean:.{places}f}" + (f" {PLUS_MINUS} {interval:.{places}f}" if row[f"{FID}.ci95"] else "")


def _headed(table: str) -> list[str]:
    return [table] if table.startswith("#") else ["## Table", table]


def _of(report: Path) -> str:
    return "" if report.parent == Path() else f" ({report.parent})"


def _title(path: Path) -> str:
    return path.stem.replace("_", " ").capitalize().replace("Fid ", "FID ")

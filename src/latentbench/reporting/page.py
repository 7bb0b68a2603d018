"""Writes a study as one self-contained HTML page, from its records and their images."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from latentbench import __version__
from latentbench.records.record import write_atomically
from latentbench.reporting.columns import ARROWS
from latentbench.reporting.findings import Finding, baseline_name, find, headline
from latentbench.reporting.formats import BEST, CAPTION
from latentbench.reporting.ledger import CAPTION as PUBLISHED_CAPTION
from latentbench.reporting.ledger import HEADINGS, TITLE, cells, remarks, verdicts
from latentbench.reporting.page_figures import PageFigure, make_page_figures
from latentbench.reporting.page_tables import PageTables, make_tables, signed
from latentbench.reporting.published_numbers import Comparison, compare, published_numbers
from latentbench.reporting.run_cards import RowCards, data_uri, make_card
from latentbench.reporting.study import (
    TO_ANOTHER,
    figure_axes,
    output_folder,
    read_records,
    summarize_study,
    writing_to,
)
from latentbench.reporting.summary import Summary
from latentbench.reporting.tuned import each_rule

FILE_NAME = "report.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyPage:
    """Everything that the template shows.

    question, details: the first question of the study, and the rest of its text
    published: numbers of papers beside ours
    """

    title: str
    question: str
    details: str
    summary: Summary
    findings: Sequence[Finding]
    tables: PageTables
    figures: Sequence[PageFigure]
    rows: Sequence[RowCards]
    published: Sequence[Comparison]

    @property
    def headline(self) -> list[str]:
        """The short answer, in sentences."""
        return verdicts(self.published) + headline(self.summary, self.findings)

    @property
    def baseline(self) -> str:
        """The name of the baseline, or "their baseline" if there are several; empty if nothing is tested."""
        return baseline_name(self.summary)

    @property
    def several_scales(self) -> bool:
        """Whether the findings need headings that name their scales."""
        return len({finding.scale for finding in self.findings}) > 1

    @functools.cached_property
    def statuses(self) -> Counter[str]:
        """Status -> number of runs."""
        return Counter(run.status for run in self.summary.runs)

    @functools.cached_property
    def seeds(self) -> set[int]:
        """The seeds of all runs."""
        return {run.choices["seed"] for run in self.summary.runs}


def write_page(config: DictConfig) -> None:
    """Write a study's page, beside its records or to the folder `to`.

    Raises: UserError if the config or the records cannot be used, or the folder cannot be written.
    """
    study = read_records(config)
    folder = output_folder(config, study)
    for name, of_rule in each_rule(config):
        summary, figures = summarize_study(of_rule, study)
        question = OmegaConf.select(config, "question")
        page = to_html(
            summary,
            figures,
            study.folder,
            title=config.study,
            axes=figure_axes(config),
            question=question,
            published=compare(published_numbers(of_rule), summary),
        )
        path = folder / name / FILE_NAME
        with writing_to(folder, otherwise=TO_ANOTHER):
            write_atomically(path, page.encode())
        print(f"written: {path} ({len(page.encode()) / 1e6:.1f} MB)")


def to_html(
    summary: Summary,
    figures: Mapping[str, Figure],
    folder: Path,
    *,
    title: str,
    axes: Mapping[str, Mapping[str, str]],
    question: str | None = None,
    published: Sequence[Comparison] = (),
) -> str:
    """A study's page; the images of its runs are in `folder`. axes: figure -> its x and y"""
    findings = find(summary)
    first, mark, details = " ".join((question or "").split()).partition("? ")
    page = StudyPage(
        title=title,
        question=first + mark.strip(),
        details=details,
        summary=summary,
        findings=findings,
        tables=make_tables(summary, findings),
        figures=make_page_figures(summary, figures, axes),
        rows=[RowCards(row=row, runs=[make_card(folder, run) for run in row.runs]) for row in summary.rows],
        published=published,
    )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"signed": signed, "data_uri": data_uri, "published_cells": cells, "remarks": remarks}
    environment.globals |= {
        "version": __version__,
        "table_caption": f"{CAPTION} Bold: {BEST}",
        "arrows": ARROWS,
        "published_title": TITLE,
        "published_headings": HEADINGS,
        "published_caption": PUBLISHED_CAPTION,
    }
    return environment.get_template("page.html.jinja").render(page=page)

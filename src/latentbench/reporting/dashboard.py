"""`latentbench-dashboard`: a study's W&B workspace, with panels of what its table shows."""

import importlib.util
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from omegaconf import DictConfig

from latentbench.configuration.identity import choices
from latentbench.configuration.validation import check
from latentbench.errors import UserError
from latentbench.records.wandb import connected, explained
from latentbench.reporting import study

# Every run has some of them.
CURVES = ("loss", "distortion", "regularizer", "critic_loss", "generator_loss", "discriminator_loss")
LATENTS = ("interpolation", "traversal", "codes")
VARIANT = "variant"  # of a run's config in W&B: its name there less the seed
MOST_RUNS = 100  # in a panel, which W&B would cut at ten


class Panel(NamedTuple):
    """What a panel shows: `y` as bars, along `x` as lines, against `x` as points, or pictures logged under `y`."""

    kind: Literal["bar", "scatter", "line", "media"]
    title: str
    y: Sequence[str]
    x: str = ""

    def __str__(self) -> str:
        shown = ", ".join(self.y)
        return f"{self.kind:8} {self.title}: {shown}" + (f" against {self.x}" if self.x else "")


def make_dashboard(config: DictConfig, *, dry_run: bool) -> None:
    """Make a study's workspace, or print what it would hold. Raises: UserError if the config or W&B cannot be used."""
    check(config)
    if "project" not in config.logger:
        raise UserError("a dashboard is of runs in W&B: logger=wandb")
    if not config.logger.project:
        raise UserError("project= is empty: name the W&B project that the runs are in")
    sections = panels(config)
    lines = [line for name, shown in sections.items() for line in (name, *(f"  {panel}" for panel in shown))]
    if dry_run:
        where = f"{config.logger.entity or '<your default entity>'}/{config.logger.project}"
        print(f"workspace {title(config)} of {where}", *lines, sep="\n")
    else:
        print(save(config, sections))


def title(config: DictConfig) -> str:
    """What the workspace is called."""
    return f"latentbench: {config.study}"


def panels(config: DictConfig) -> dict[str, list[Panel]]:
    """The workspace's sections and their panels, of what the study's table shows."""
    columns = study.names(config, "table.columns") or ["fid/prior"]
    bars = [Panel("bar", f"{key} by method, mean over seeds", [key]) for key in columns if key.startswith("fid/")]
    points = [
        Panel("scatter", name.replace("_", " "), [axes["y"]], axes["x"])
        for name, axes in study.figure_axes(config).items()
    ]
    curves = [
        Panel("line", term.replace("_", " "), [f"train/{term}", f"validation/{term}"], "epoch") for term in CURVES
    ]
    drawn = [key for key in (study.names(config, "table.samples") or []) if key not in LATENTS]
    media = [Panel("media", key, [f"images/{key}"]) for key in (*drawn, *LATENTS)]
    return {"Results": bars, "Figures": points, "Curves": curves, "Samples": media}


def save(config: DictConfig, sections: dict[str, list[Panel]]) -> str:
    """Make the workspace in W&B; its address. Raises: UserError if that cannot be had."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("a dashboard is made with wandb-workspaces: pip install 'latentbench[dashboard]'")
    entity, project = config.logger.entity, config.logger.project
    with explained("/".join(filter(None, (entity, project)))):
        api = connected()
        entity = str(entity or api.default_entity)
        if not len(api.runs(f"{entity}/{project}", filters={"group": config.study}, per_page=1)):
            print(f"warning: {entity}/{project} has no runs of study={config.study} yet", file=sys.stderr)
        made = workspace(config, sections, entity, project).save()
        return str(made.url)


def workspace(config: DictConfig, sections: dict[str, list[Panel]], entity: str, project: str) -> Any:
    """The workspace as W&B takes it: the study's runs, those that differ in their seed alone in a group."""
    import wandb_workspaces.reports.v2 as reports  # here alone: it is an extra
    import wandb_workspaces.workspaces as workspaces
    from wandb_workspaces import expr

    chosen = choices(config, config.hydra.runtime.choices)

    def panel(of: Panel) -> Any:
        if of.kind == "bar":
            seeds = {"groupby": reports.Config(VARIANT), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
            return reports.BarPlot(title=of.title, metrics=list(of.y), max_bars_to_show=MOST_RUNS, **seeds)
        if of.kind == "scatter":
            setting = reports.Config(f"choices.{of.x}" if of.x in chosen else of.x)
            x = reports.SummaryMetric(of.x) if "/" in of.x else setting
            return reports.ScatterPlot(title=of.title, x=x, y=reports.SummaryMetric(of.y[0]))
        if of.kind == "line":
            return reports.LinePlot(title=of.title, x=of.x, y=list(of.y), max_runs_to_show=MOST_RUNS)
        return reports.MediaBrowser(title=of.title, media_keys=list(of.y), num_columns=3)

    columns = study.names(config, "table.columns") or []
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=title(config),
        sections=[
            workspaces.Section(name=name, panels=[panel(of) for of in shown], is_open=True)
            for name, shown in sections.items()
            if shown
        ],
        settings=workspaces.WorkspaceSettings(x_axis="epoch", max_runs=MOST_RUNS),
        runset_settings=workspaces.RunsetSettings(
            filters=[expr.Metric("Group") == config.study],
            groupby=[expr.Config(VARIANT)],
            pinned_columns=[f"summary:{key}" for key in columns[:8]],
        ),
    )

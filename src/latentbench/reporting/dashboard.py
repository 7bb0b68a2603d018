"""`latentbench-dashboard`: a study's W&B workspace, with panels of what its table shows."""

import importlib.util
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from latentbench.configuration.compose import compose_config
from latentbench.configuration.identity import choices
from latentbench.configuration.messages import explain
from latentbench.configuration.validation import check
from latentbench.errors import UserError
from latentbench.records.wandb import connected, explained
from latentbench.reporting import tables

HELP = """latentbench-dashboard: a study's Weights & Biases workspace, of the runs that are logged there.

Usage:
  latentbench-dashboard sweep=quick entity=me project=latentbench            makes it and prints where it is
  latentbench-dashboard sweep=quick entity=me project=latentbench --dry-run  prints what it would hold, asks nobody

entity, project  where the runs are, as logger.entity and logger.project of them; your default entity, latentbench
table.columns    of these, every fid/... is a panel of bars, one for all seeds of a method and its settings
table.figures    name -> {x: ..., y: ...}: a scatter panel each
table.samples    a panel of pictures each

Every call makes a new view of the project; W&B shows them under Workspaces. It takes
`pip install 'latentbench[dashboard]'` and a key (`wandb login`, or WANDB_API_KEY).
"""
DRY_RUN = "--dry-run"
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the workspace, or print what it would hold; 2 if the command or W&B cannot be used."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        config = compose_config(overrides(arguments))
        check(config)
        if "project" not in config.logger:
            raise UserError("a dashboard is of runs in W&B: logger=wandb")
        if not config.logger.project:
            raise UserError("project= is empty: name the W&B project that the runs are in")
        sections = panels(config)
        lines = [line for name, shown in sections.items() for line in (name, *(f"  {panel}" for panel in shown))]
        if DRY_RUN in arguments:
            where = f"{config.logger.entity or '<your default entity>'}/{config.logger.project}"
            print(f"workspace {title(config)} of {where}", *lines, sep="\n")
        else:
            print(save(config, sections))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"latentbench-dashboard: {explain(error)}", file=sys.stderr)
        return 2
    return 0


def overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra takes them."""
    short = ("entity=", "project=")
    return [f"logger.{word}" if word.startswith(short) else word for word in arguments if word != DRY_RUN]


def title(config: DictConfig) -> str:
    """What the workspace is called."""
    return f"latentbench: {config.study}"


def panels(config: DictConfig) -> dict[str, list[Panel]]:
    """The workspace's sections and their panels, of what the study's table shows."""
    columns = tables.names(config, "table.columns") or ["fid/prior"]
    bars = [Panel("bar", f"{key} by method, mean over seeds", [key]) for key in columns if key.startswith("fid/")]
    points = [
        Panel("scatter", name.replace("_", " "), [axes["y"]], axes["x"]) for name, axes in tables.plots(config).items()
    ]
    curves = [
        Panel("line", term.replace("_", " "), [f"train/{term}", f"validation/{term}"], "epoch") for term in CURVES
    ]
    drawn = [key for key in (tables.names(config, "table.samples") or []) if key not in LATENTS]
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

    columns = tables.names(config, "table.columns") or []
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

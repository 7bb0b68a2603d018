"""`latentbench-dashboard`: a study's W&B workspace, with panels of what its table shows."""

import importlib.util
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from omegaconf import DictConfig

from latentbench.configuration.identity import choices
from latentbench.configuration.value_checks import check
from latentbench.errors import UserError
from latentbench.records import wandb_keys
from latentbench.records.keys import floor_key
from latentbench.records.wandb_records import wandb_api, wandb_errors_explained
from latentbench.reporting import study

# Loss terms; every method logs some of them.
CURVES = ("loss", "distortion", "regularizer", "posterior_loss", "critic_loss", "generator_loss", "discriminator_loss")
LATENTS = ("interpolation", "traversal", "codes")  # images that show the latent space
MAX_RUNS = 100  # in a panel; W&B's default is ten


class Panel(NamedTuple):
    """A panel: bars of `y`, lines of `y` along `x`, points of `y` against `x`, or the images logged under `y`."""

    kind: Literal["bar", "scatter", "line", "media"]
    title: str
    y: Sequence[str]
    x: str = ""

    def __str__(self) -> str:
        y = ", ".join(self.y)
        return f"{self.kind:8} {self.title}: {y}" + (f" against {self.x}" if self.x else "")


def make_dashboard(config: DictConfig, *, dry_run: bool) -> None:
    """Make a study's workspace, or print its panels. Raises: UserError if the config or W&B cannot be used."""
    check(config)
    if "project" not in config.logger:
        raise UserError("a dashboard shows runs in W&B: set logger=wandb")
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
    """The name of the workspace."""
    return f"latentbench: {config.study}"


def panels(config: DictConfig) -> dict[str, list[Panel]]:
    """The workspace's sections and their panels, which show what the study's table shows."""
    columns = study.names(config, "table.columns") or ["fid/prior"]
    shown = [key for key in columns if key.startswith("fid/")] or columns[:1]
    bars = [
        Panel("bar", f"{key} by setting, mean over seeds, beside real images", [key, floor_key(key)])
        if key.startswith("fid/")
        else Panel("bar", f"{key} by setting, mean over seeds", [key])
        for key in shown
    ]
    points = [
        Panel("scatter", name.replace("_", " "), [axes["y"]], axes["x"])
        for name, axes in study.figure_axes(config).items()
    ]
    curves = [
        Panel(
            "line",
            term.replace("_", " "),
            [wandb_keys.curve_key(stage, term) for stage in wandb_keys.STAGES],
            wandb_keys.EPOCH,
        )
        for term in CURVES
    ]
    drawn = [key for key in (study.names(config, "table.samples") or []) if key not in LATENTS]
    media = [Panel("media", key, [wandb_keys.image_key(key)]) for key in (*drawn, *LATENTS)]
    return {"Results": bars, "Figures": points, "Curves": curves, "Samples": media}


def save(config: DictConfig, sections: dict[str, list[Panel]]) -> str:
    """Create the workspace in W&B and return its URL. Raises: UserError if that fails."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("a dashboard needs wandb-workspaces: pip install 'latentbench[dashboard]'")
    entity, project = config.logger.entity, config.logger.project
    with wandb_errors_explained("/".join(filter(None, (entity, project)))):
        api = wandb_api()
        entity = str(entity or api.default_entity)
        if not len(api.runs(f"{entity}/{project}", filters=wandb_keys.study_filter(config.study), per_page=1)):
            print(f"warning: {entity}/{project} has no runs of study={config.study} yet", file=sys.stderr)
        return str(workspace(config, sections, entity, project).save().url)


def workspace(config: DictConfig, sections: dict[str, list[Panel]], entity: str, project: str) -> Any:
    """The workspace as an object of W&B's library; runs that differ only in the seed are grouped."""
    import wandb_workspaces.reports.v2 as reports  # not at the top: an optional package
    import wandb_workspaces.workspaces as workspaces
    from wandb_workspaces import expr

    chosen = choices(config, config.hydra.runtime.choices)

    def to_wandb_panel(panel: Panel) -> Any:
        if panel.kind == "bar":
            seeds = {
                "groupby": reports.Config(wandb_keys.VARIANT),
                "groupby_aggfunc": "mean",
                "groupby_rangefunc": "stddev",
            }
            return reports.BarPlot(title=panel.title, metrics=list(panel.y), max_bars_to_show=MAX_RUNS, **seeds)
        if panel.kind == "scatter":
            setting = reports.Config(wandb_keys.choice_key(panel.x) if panel.x in chosen else panel.x)
            x = reports.SummaryMetric(panel.x) if "/" in panel.x else setting
            return reports.ScatterPlot(title=panel.title, x=x, y=reports.SummaryMetric(panel.y[0]))
        if panel.kind == "line":
            return reports.LinePlot(title=panel.title, x=panel.x, y=list(panel.y), max_runs_to_show=MAX_RUNS)
        return reports.MediaBrowser(title=panel.title, media_keys=list(panel.y), num_columns=3)

    columns = study.names(config, "table.columns") or []
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=title(config),
        sections=[
            workspaces.Section(name=name, panels=[to_wandb_panel(panel) for panel in section], is_open=True)
            for name, section in sections.items()
            if section
        ],
        settings=workspaces.WorkspaceSettings(x_axis=wandb_keys.EPOCH, max_runs=MAX_RUNS),
        runset_settings=workspaces.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == config.study),
            groupby=[expr.Config(wandb_keys.VARIANT)],
            pinned_columns=[f"summary:{key}" for key in columns[:8]],
        ),
    )

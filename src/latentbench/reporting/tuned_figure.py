"""The figure of how good a choice is after n trials: a small panel per method, all others in grey behind it."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from latentbench.reporting.plots import COLOURS, FONT
from latentbench.reporting.tuned import BestOf, Choice, Tuned, best_of

COLUMNS = 6
PANEL = (1.25, 1.0)  # inches


def best_of_trials(tuned: Tuned, heading: str) -> Figure | None:
    """The mean of the best of n trials with its 10 % and 90 % quantiles, and the method as it is as a dotted line.

    Panels begin with the best after all trials. heading: what the rule looks at, with its units
    Returns: None if no choice has two trials with a number.
    """
    curves = {choice.name: best_of(choice.searched) for choice in tuned.choices}
    choices = sorted(
        (choice for choice in tuned.choices if len(curves[choice.name]) > 1),
        key=lambda choice: -choice.sign * curves[choice.name][-1].mean,
    )
    if not choices:
        return None
    columns = min(COLUMNS, len(choices))
    rows = math.ceil(len(choices) / columns)
    figure = Figure(figsize=(columns * PANEL[0] + 0.6, max(rows * PANEL[1], 1.6) + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    shown = [best.mean for curve in curves.values() for best in curve]
    shown += [choice.scores[0] for choice in choices if 0 in choice.scores]
    for axes in grid.flat[len(choices) :]:
        axes.set_axis_off()
    for axes, choice in zip(grid.flat, choices, strict=False):
        for curve in curves.values():
            axes.plot([best.n for best in curve], [best.mean for best in curve], color="0.85", linewidth=0.5, zorder=0)
        _draw(axes, choice, curves[choice.name])
        _set_scale(axes, min(shown), max(shown))
    figure.supxlabel("trials; band: 80 % of draws; dotted: the method as it is", fontsize=FONT - 1)
    figure.supylabel(f"best {heading}", fontsize=FONT - 1)
    return figure


def _draw(axes: Axes, choice: Choice, curve: list[BestOf]) -> None:
    n = [best.n for best in curve]
    axes.fill_between(
        n, [best.low for best in curve], [best.high for best in curve], color=COLOURS[0], alpha=0.2, linewidth=0
    )
    axes.plot(n, [best.mean for best in curve], color=COLOURS[0], linewidth=1.2)
    if 0 in choice.scores:
        axes.axhline(choice.scores[0], color=COLOURS[1], linestyle=":", linewidth=1.0)
    axes.set_title(choice.name, fontsize=FONT - 1, pad=2)
    axes.tick_params(labelsize=FONT - 2, length=2)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _set_scale(axes: Axes, low: float, high: float) -> None:
    """Logarithmic from a decade on; bands may be cut off."""
    if low > 0 and high / low > 10:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.1, high * 1.1)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.05 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)

"""Plots: the numbers of a picture, and the chart that shows them.

`Plot.save` writes one as PNG, SVG, PDF or interactive HTML, `Plot.to_dict` gives its numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.plots.calibration import CalibrationPlot as CalibrationPlot
    from tryage.learning.plots.calibration import calibration_plot as calibration_plot
    from tryage.learning.plots.difficulty import DifficultyPlot as DifficultyPlot
    from tryage.learning.plots.difficulty import difficulty_plot as difficulty_plot
    from tryage.learning.plots.front import FrontPlot as FrontPlot
    from tryage.learning.plots.front import front_of_prompts as front_of_prompts
    from tryage.learning.plots.front import front_of_table as front_of_table
    from tryage.learning.plots.onboarding import OnboardingPlot as OnboardingPlot
    from tryage.learning.plots.onboarding import onboarding_of_journal as onboarding_of_journal
    from tryage.learning.plots.onboarding import onboarding_of_traffic as onboarding_of_traffic
    from tryage.learning.plots.pareto import ParetoPlot as ParetoPlot
    from tryage.learning.plots.pareto import pareto_plot as pareto_plot
    from tryage.learning.plots.plot import Plot as Plot
    from tryage.learning.plots.shares import SharesPlot as SharesPlot
    from tryage.learning.plots.shares import shares_plot as shares_plot

_MODULES = {
    "CalibrationPlot": "tryage.learning.plots.calibration",
    "DifficultyPlot": "tryage.learning.plots.difficulty",
    "FrontPlot": "tryage.learning.plots.front",
    "OnboardingPlot": "tryage.learning.plots.onboarding",
    "ParetoPlot": "tryage.learning.plots.pareto",
    "Plot": "tryage.learning.plots.plot",
    "SharesPlot": "tryage.learning.plots.shares",
    "calibration_plot": "tryage.learning.plots.calibration",
    "difficulty_plot": "tryage.learning.plots.difficulty",
    "front_of_prompts": "tryage.learning.plots.front",
    "front_of_table": "tryage.learning.plots.front",
    "onboarding_of_journal": "tryage.learning.plots.onboarding",
    "onboarding_of_traffic": "tryage.learning.plots.onboarding",
    "pareto_plot": "tryage.learning.plots.pareto",
    "shares_plot": "tryage.learning.plots.shares",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)

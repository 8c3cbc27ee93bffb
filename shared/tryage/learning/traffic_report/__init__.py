"""What the log of traffic shows: quality, spending, who got what, and which router is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.traffic_report.comparison import Comparison as Comparison
    from tryage.learning.traffic_report.documents import to_html as to_html
    from tryage.learning.traffic_report.documents import to_markdown as to_markdown
    from tryage.learning.traffic_report.summary import TrafficReport as TrafficReport
    from tryage.learning.traffic_report.summary import make_report as make_report
    from tryage.learning.traffic_report.summary import read_report as read_report

_MODULES = {
    "Comparison": "tryage.learning.traffic_report.comparison",
    "TrafficReport": "tryage.learning.traffic_report.summary",
    "make_report": "tryage.learning.traffic_report.summary",
    "read_report": "tryage.learning.traffic_report.summary",
    "to_html": "tryage.learning.traffic_report.documents",
    "to_markdown": "tryage.learning.traffic_report.documents",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)

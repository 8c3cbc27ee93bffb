"""Write the facts of `experts.json` into a bundled router, without training it again.

    python benchmarks/bundle/facts.py shared/tryage/perception/bundled

The experts and their order stay the same; weights, prior and figures do not change.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from names import library

from tryage.perception.pretrained import ROUTER_FILE


def main() -> None:
    """Replace the facts in the header of a saved router."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("router", type=Path)
    path = parser.parse_args().router / ROUTER_FILE
    header = json.loads(path.read_text("utf-8"))
    names = [expert["name"] for expert in header["library"]]
    header["library"] = [expert.to_dict() for expert in library().subset(names)]
    path.write_text(json.dumps(header, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

"""`tryage.testing` imports little beside the core, so that tests start fast."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_fakes_and_the_local_hub_load_only_the_core_and_the_switch_of_telemetry():
    code = (
        "import json, sys\n"
        "from tryage.testing import *\n"
        "LocalHub()\n"
        "demo_perception().predict(['hello'])\n"
        "print(json.dumps([n for n in sys.modules if n.startswith(('tryage.', 'opentelemetry'))]))"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    rooms = {name.removeprefix("tryage.").split(".")[0] for name in json.loads(done.stdout)}
    assert rooms == {"core", "errors", "locks", "telemetry", "testing"}

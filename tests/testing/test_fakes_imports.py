"""`tryage.testing` imports only the core and the errors, so that tests start fast."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_fakes_and_the_local_hub_load_only_the_core():
    code = (
        "import json, sys\n"
        "from tryage.testing import *\n"
        "LocalHub()\n"
        "demo_perception().predict(['hello'])\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('tryage.')]))"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    rooms = {name.split(".")[1] for name in json.loads(done.stdout)}
    assert rooms == {"core", "errors", "testing"}

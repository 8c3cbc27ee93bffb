"""The questions that ship are what their sources make, and every answer was found twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "questions" / "make.py"


@pytest.mark.slow  # ten seconds
@pytest.mark.skipif(sys.version_info < (3, 11), reason="before Python 3.11 there is no tomllib")
def test_the_file_holds_what_the_sources_make_and_no_answer_differs_from_its_second():
    pytest.importorskip("jsonschema")
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

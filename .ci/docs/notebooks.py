"""Run the notebooks of the documentation, and keep what they print in them.

    .venv/bin/python .ci/docs/notebooks.py

Each runs offline, in an empty folder and a fresh process. What a cell writes to its log has
times and numbers of its own in it, and is left out.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Run every notebook, and write it with what it printed."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(run_notebook(path, Path(folder)), path)


def run_notebook(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run a notebook in a folder, and return it with what it printed.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = {**os.environ, **OFFLINE, "TRYAGE_HOME": str(folder / "home")}
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of its run
        if cell.cell_type == "code":
            text = "".join(part.text for part in cell.outputs if part.get("name") == "stdout")
            cell.outputs = [nbformat.v4.new_output("stream", text=text)] if text else []
    return notebook


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what each cell of code printed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(part.get("text", "") for part in cell.outputs) for cell in cells]


if __name__ == "__main__":
    main()

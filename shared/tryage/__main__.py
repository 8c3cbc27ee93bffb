"""`python -m tryage` is the command `tryage`."""

from tryage.cli import app

if __name__ == "__main__":
    app(prog_name="python -m tryage")

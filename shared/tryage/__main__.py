"""`python -m tryage` is the command `tryage`."""

import tryage.cli

if __name__ == "__main__":
    tryage.cli.app(prog_name="python -m tryage")

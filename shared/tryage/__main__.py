"""`python -m tryage` is the command `tryage`."""

import tryage.cli

if __name__ == "__main__":
    tryage.cli.app(prog_name="tryage")  # the name that shell completion is installed for

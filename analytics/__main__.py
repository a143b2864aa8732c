"""The door of the command line: Ctrl-C is seen to before anything large is imported."""

import atexit
import gc

from analytics.interruption import take_interrupts


def main() -> int:
    """Run one command of this process's arguments and return its exit code."""
    take_interrupts()
    # Looking through all that is imported for garbage, at the end, takes a twentieth of a run that finds nothing new.
    atexit.register(gc.disable)
    from analytics.cli import main as run_command

    return run_command()


if __name__ == "__main__":
    raise SystemExit(main())

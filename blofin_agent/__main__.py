"""`python -m blofin_agent` is `blofin-agent`."""

from blofin_agent.runtime.gc_tuning import no_gc

with no_gc():
    from blofin_agent.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="blofin-agent")

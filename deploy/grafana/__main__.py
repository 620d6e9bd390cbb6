"""Write the dashboard files. From the repository root: python -m deploy.grafana."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana import coverage, feed_api

FOLDER = Path(__file__).parent / "dashboards"


def texts() -> dict[str, str]:
    """Return the JSON of each dashboard by file name."""
    return {
        f"{module.UID.removeprefix('blofin-')}.json": text(module.build().build())
        for module in (coverage, feed_api)
    }


def text(dashboard: Dashboard) -> str:
    """Return the JSON of a dashboard, with visible links.

    The library puts all links into a menu, which Grafana 13 keeps closed.
    """
    for link in dashboard.links or ():
        link.placement = None  # type: ignore[assignment] # left out of the JSON
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard) + "\n"


def main() -> None:
    """Write all dashboard files."""
    for name, written in texts().items():
        (FOLDER / name).write_text(written)


if __name__ == "__main__":
    main()

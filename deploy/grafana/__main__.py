"""Write the dashboards. From the repository's root: python -m deploy.grafana."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import coverage, feed_api

FOLDER = Path(__file__).parent / "dashboards"


def texts() -> dict[str, str]:
    """Return each dashboard's JSON by its file name."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    return {
        f"{module.UID.removeprefix('blofin-')}.json": encoder.encode(module.build().build()) + "\n"
        for module in (coverage, feed_api)
    }


def main() -> None:
    """Write them all."""
    for name, text in texts().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()

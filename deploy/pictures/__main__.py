"""Draw the dashboards to docs/pictures: python -m deploy.pictures PROMETHEUS-URL [MINUTES]."""

import sys
import time
from pathlib import Path

from deploy.grafana.queries import FOLDER
from deploy.pictures.draw import Shown, sheet
from deploy.pictures.prometheus import Prometheus

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"


def main() -> None:
    """Draw the dashboards from the last MINUTES minutes in Prometheus (default: 15)."""
    url = sys.argv[1]
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 15.0  # noqa: PLR2004 - the second argument
    now = time.time()
    shown = Shown(Prometheus(url), now - minutes * 60, now)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for path in sorted(FOLDER.glob("*.json")):
        sheet(path, shown).savefig(PICTURES / f"{path.stem}.png", dpi=110)


if __name__ == "__main__":
    main()

"""`python -m latentbench.cli.site`: the pages of the static site, with a report for each published study.

`make site` makes HTML of them.
"""

import shutil
import sys

from latentbench.cli import report
from latentbench.configuration.catalogue import CONF_DIR
from latentbench.records.store import PUBLISHED_NAME
from latentbench.reporting.site import PAGES, write_site

ROOT = CONF_DIR.parent  # of a checkout
BUILD = ROOT / "build"


def main() -> None:
    results = ROOT / "results"
    shutil.rmtree(BUILD / PAGES, ignore_errors=True)
    for study in sorted({path.parts[-3] for path in results.glob(f"*/*/{PUBLISHED_NAME}")}):
        which = "sweep" if (ROOT / "sweeps" / f"{study}.yaml").is_file() else "study"
        code = report.main([f"{which}={study}", f"output_dir={results}", f"to={BUILD / PAGES / 'results' / study}"])
        if code:
            sys.exit(code)
    write_site(ROOT, BUILD)


if __name__ == "__main__":
    main()

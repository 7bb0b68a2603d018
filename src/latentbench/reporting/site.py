"""Writes the pages of the static site from what a checkout has: documents, published studies, methods.

The pages lie as in the checkout, so that links between documents hold. mkdocs makes HTML of them (`make site`).
"""

import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from latentbench.configuration.catalogue import own_options
from latentbench.reporting.method_cards import write_cards
from latentbench.reporting.page import FILE_NAME as REPORT
from latentbench.reporting.published_study import PublishedStudy, published_studies

PAGES, HTML, CONFIG = "pages", "site", "mkdocs.yml"
FOLDER_PAGES = ("README.md", "table.md")  # what a link to a folder leads to
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)(?=[)#])")
STYLE = Path(__file__).with_name("site.css")
WORKER = Path(__file__).with_name("iframe-worker.js")  # the name by which mkdocs-material knows not to load its own
# Nothing is loaded from elsewhere: no fonts, no icons of repositories, no analytics.
SETTINGS: dict[str, Any] = {
    "site_name": "latentbench",
    "site_description": "A benchmark of ways to regularize the latent space of an autoencoder",
    "docs_dir": PAGES,
    "site_dir": HTML,
    "use_directory_urls": False,  # pages open from the disk, without a server
    "extra_css": [STYLE.name],
    "theme": {
        "name": "material",
        "font": False,
        "features": ["navigation.tabs", "navigation.indexes", "navigation.top", "toc.follow", "content.code.copy"],
        "palette": [
            {
                "media": "(prefers-color-scheme: light)",
                "scheme": "default",
                "toggle": {"icon": "material/brightness-7", "name": "Dark"},
            },
            {
                "media": "(prefers-color-scheme: dark)",
                "scheme": "slate",
                "toggle": {"icon": "material/brightness-4", "name": "Light"},
            },
        ],
    },
    "extra": {"polyfills": [WORKER.name]},
    "plugins": ["search", "offline"],
    "markdown_extensions": [
        "attr_list",
        "sane_lists",
        "tables",
        "pymdownx.escapeall",
        "pymdownx.superfences",
        {"toc": {"permalink": True}},
    ],
    "validation": {
        "nav": {"omitted_files": "warn"},
        "links": {"not_found": "warn", "anchors": "warn", "unrecognized_links": "warn"},
    },
}


def write_site(root: Path, folder: Path) -> None:
    """Write the pages and the settings of mkdocs to `folder`, in which nothing is but reports of studies, if any.

    root: a checkout
    """
    pages = folder / PAGES
    for source in _documents(root):
        _copy(source, pages / source.relative_to(root))
    studies = published_studies(root / "results")
    for study in studies:
        _write_study(study, pages / "results")
    _write_sweeps(root / "sweeps", pages / "sweeps")
    write_cards(pages / "methods", studies)
    for path in (STYLE, WORKER):
        shutil.copy(path, pages)
    for page in sorted(pages.rglob("*.md")):
        _mend_links(page, pages, root)
    settings = SETTINGS | {"nav": _navigation(pages, studies)}
    (folder / CONFIG).write_text(OmegaConf.to_yaml(OmegaConf.create(settings)), encoding="utf-8")


def _documents(root: Path) -> list[Path]:
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/*.md", "docs/*", "benchmarks/*.md")
    return sorted(path for name in names for path in root.glob(name))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _write_study(study: PublishedStudy, results: Path) -> None:
    """Its page, and the files that the page links."""
    target = results / study.folder.relative_to(study.results)
    for source in {*study.folder.iterdir(), *study.records.iterdir()}:
        if source.is_file() and source.name != "table.md":
            _copy(source, results / source.relative_to(study.results))
    reports = [path.relative_to(results / study.name) for path in sorted((results / study.name).rglob(REPORT))]
    (target / "table.md").write_text(study.page(reports), encoding="utf-8")


def _write_sweeps(sweeps: Path, target: Path) -> None:
    """A page with the files of all studies."""
    parts = ["# Files of the studies", "Each is the question of a study, its grid, its tuning and its table."]
    for path in sorted(sweeps.glob("*.yaml")):
        parts += [f"## {path.stem}", f"```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```"]
    target.mkdir(parents=True)
    (target / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _mend_links(page: Path, pages: Path, root: Path) -> None:
    """Links to folders lead to the page of the folder; files of the checkout that a page links are copied."""

    def mended(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(page.parent.relative_to(pages).as_posix(), link[1]))
        if not (pages / path).exists() and (root / path).is_file():
            _copy(root / path, pages / path)
        if not (root / path).is_dir():
            return link[1]
        if (root / path / "README.md").is_file() and not (pages / path).exists():
            _copy(root / path / "README.md", pages / path / "README.md")
        name = next((name for name in FOLDER_PAGES if (pages / path / name).is_file()), "")
        return posixpath.join(link[1], name)

    text = page.read_text(encoding="utf-8")
    page.write_text(LINK.sub(mended, text), encoding="utf-8")


def _navigation(pages: Path, studies: list[PublishedStudy]) -> list[dict[str, Any]]:
    of_studies = [
        {study.title: f"results/{study.folder.relative_to(study.results).as_posix()}/table.md"} for study in studies
    ]
    ledger, files = _titled(pages, ["results/ledger.md"]), _titled(pages, ["sweeps/README.md"])
    results = ["results/README.md", *ledger, *of_studies, *files]
    methods = ["methods/README.md", *({name: f"methods/{name}.md"} for name in own_options("method"))]
    documents = sorted(path.relative_to(pages).as_posix() for path in pages.glob("docs/*.md"))
    work = sorted(path.relative_to(pages).as_posix() for path in [*pages.glob("C*.md"), *pages.glob("*s/*/README.md")])
    speed = sorted(path.relative_to(pages).as_posix() for path in pages.glob("benchmarks/*.md"))
    api = "docs/api.md"
    return [
        {"latentbench": "README.md"},
        {"Results": results},
        {"Methods": methods},
        {"Documentation": _titled(pages, [path for path in documents if path != api])},
        *([{"Python": api}] if api in documents else []),
        {"Speed": _titled(pages, speed)},
        {"Work on it": _titled(pages, work)},
    ]


def _titled(pages: Path, paths: list[str]) -> list[dict[str, str]]:
    """Each page by its first heading."""
    found = [(path, (pages / path).read_text(encoding="utf-8")) for path in paths if (pages / path).is_file()]
    return [{text.partition("\n")[0].lstrip("# "): path} for path, text in found]

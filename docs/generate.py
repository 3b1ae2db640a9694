"""Writes the pages of the reference from the package itself: the API, the settings, the notebooks."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import daskhpc
from daskhpc import errors
from daskhpc.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]

GROUPS = {
    "Start": ["start", "initialize", "send_close_signal", "discover", "Runtime", "Settings"],
    "Jobs": ["submit", "Job"],
    "Searches": [
        "GridSearchCV",
        "RandomizedSearchCV",
        "HalvingGridSearchCV",
        "HalvingRandomSearchCV",
        "sweep",
    ],
    "Scaling": ["scaling"],
    "Large data": ["explain", "compute", "persist", "ParallelPostFit", "Incremental"],
}
"""The names of the package itself, by page; modules have pages of their own."""


def write_pages(folder: Path) -> None:
    """Write all generated pages; a file that has not changed is left alone, so that Sphinx does not read it again."""
    folder.mkdir(exist_ok=True)
    pages: dict[str, str | bytes] = {**_api_pages(), **_program_pages(), **_notebook_pages()}
    pages |= {"settings.md": _settings_page(), "errors.rst": _errors_page()}
    for name, text in pages.items():
        path = folder / name
        content = text.encode() if isinstance(text, str) else text
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
    for path in folder.iterdir():
        if path.is_file() and path.name not in pages:
            path.unlink()


def site_links(text: str, docname: str) -> str:
    """Let the links of a page to the repository's programs and notebooks lead to their pages on the site.

    Examples
    --------
    >>> site_links("[program](../slurm/satellite_ddp/README.md)", "ddp")
    '[program](generated/program-satellite_ddp.md)'
    """
    up = "../" * docname.count("/")

    def to_page(link: re.Match[str]) -> str:
        title, folder, name = link.groups()
        readme = ROOT / folder / name / "README.md"
        if folder == "slurm" and not readme.exists():
            return title
        return f"[{title}]({up}generated/{'program' if folder == 'slurm' else 'notebook'}-{name}.md)"

    return re.sub(r"\[([^]]+)\]\((?:\.\./)+(slurm|notebooks)/([\w-]+)(?:/(?:README\.md)?|\.ipynb)\)", to_page, text)


def _program_pages() -> dict[str, str | bytes]:
    """The README of each program; its links and pictures are those of the program's folder."""
    pages: dict[str, str | bytes] = {}
    for path in sorted(ROOT.glob("slurm/*/README.md")):
        text = re.sub(r"\]\((?![a-z]+:|#|\.\./)", f"](../../slurm/{path.parent.name}/", path.read_text())
        text = re.sub(r"\]\(\.\./\.\./docs/", "](../", text)
        pages[f"program-{path.parent.name}.md"] = re.sub(r"\]\(\.\./(\w+)/(README\.md)?\)", r"](program-\1.md)", text)
    return pages


def _notebook_pages() -> dict[str, str | bytes]:
    """The notebooks with the outputs that they were saved with; nothing is run."""
    from nbconvert import MarkdownExporter

    pages: dict[str, str | bytes] = {}
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        names = {"unique_key": f"notebook-{path.stem}", "output_files_dir": "."}
        text, found = MarkdownExporter().from_filename(str(path), resources=names)
        text = re.sub(r"(?s)<style scoped>.*?</style>", "", text)
        text = re.sub(r"\]\((\d\d-[\w-]+)\.ipynb\)", r"](notebook-\1.md)", text)
        pages[f"notebook-{path.stem}.md"] = text.replace("](./", "](")
        pages |= {Path(name).name: data for name, data in found["outputs"].items()}
    return pages


def _api_pages() -> dict[str, str | bytes]:
    modules = {name: importlib.import_module(f"daskhpc.{name}") for name, home in daskhpc._HOMES.items() if not home}
    modules.pop("errors")
    missing = set(daskhpc.__all__) - set(modules) - {"errors"} - {n for names in GROUPS.values() for n in names}
    if missing:
        raise ValueError(f"add to GROUPS in docs/generate.py: {', '.join(sorted(missing))}")
    pages: dict[str, str | bytes] = {}
    for title, names in GROUPS.items():
        pages[f"api-{title.lower().replace(' ', '-')}.rst"] = _api_page(title, "daskhpc", daskhpc, names)
    for name, module in modules.items():
        pages[f"api-{name}.rst"] = _api_page(f"daskhpc.{name}", f"daskhpc.{name}", module, module.__all__)
    return pages


def _api_page(title: str, prefix: str, module: object, names: Iterable[str]) -> str:
    lines = [title, "=" * len(title), ""]
    for name in names:
        thing = getattr(module, name)
        lines += [name, "-" * len(name), ""]
        if inspect.isclass(thing):
            lines += [f".. autoclass:: {prefix}.{name}{_signature(thing)}", *_members(thing), ""]
        else:
            lines += [f".. autofunction:: {prefix}.{name}", ""]
    return "\n".join(lines)


def _signature(cls: type) -> str:
    """The parameters of a class whose signature is computed; autodoc reads those that are written in the source."""
    if not hasattr(cls.__init__, "__signature__"):
        return ""
    found = inspect.signature(cls)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _members(cls: type) -> list[str]:
    """The options that show what the class itself documents; what it inherits stands in the other package's pages."""
    own = [n for n, v in vars(cls).items() if not n.startswith("_") and getattr(v, "__doc__", None)]
    own = [n for n in own if inspect.isfunction(vars(cls)[n]) or isinstance(vars(cls)[n], property | classmethod)]
    return [f"   :members: {', '.join(own)}"] if own else []


def _settings_page() -> str:
    fields = {f.name: f for f in dataclasses.fields(Settings)}
    lines = [
        "# Settings",
        "",
        "A setting has one name everywhere. The first place that has a value wins:",
        "",
        "```text",
        "daskhpc run --processes 4 search.py     an option of the command, or",
        "daskhpc.start(processes=4)              an argument",
        "export DASK_DASKHPC__PROCESSES=4        the environment",
        "~/.config/dask/daskhpc.yaml             daskhpc:",
        "                                          processes: 4",
        "```",
        "",
        "`daskhpc config` shows the value of each setting and where it is from. An unknown name is refused, with the "
        "names that exist.",
        "",
    ]
    for name, setting in Settings.declared().items():
        lines += [f"(setting-{name.replace('_', '-')})=", f"## {name}", "", setting.meaning, ""]
        lines += ["| | |", "|---|---|", f"| default | {setting.otherwise} |"]
        lines += [f"| type | `{str(fields[name].type).replace(' | ', ' or ')}` |"]
        if setting.option:
            lines += ["| option of `daskhpc run` | " + ", ".join(f"`{o}`" for o in setting.option.split()) + " |"]
        lines += [f"| environment | `{PREFIX}{name.upper()}` |", ""]
    return "\n".join(lines)


def _errors_page() -> str:
    title = "Errors"
    lines = [title, "=" * len(title), ""]
    lines += ["Each error says what happened, what was found, and what to type next:", "", ".. code-block:: text", ""]
    example = errors.StartError(
        "A cluster needs at least 3 MPI ranks.", "2 ranks", "daskhpc run script.py, which starts enough of them"
    )
    lines += [*(f"   {line}" for line in f"daskhpc.errors.StartError: {example}".splitlines()), ""]
    lines += ["All errors are in ``daskhpc.errors``, and all are a ``DaskhpcError``.", ""]
    for cls in _errors():
        bases = [b.__name__ for b in cls.__mro__[1:] if issubclass(b, Exception) and b.__name__ != "Exception"]
        lines += [f".. autoexception:: daskhpc.errors.{cls.__name__}", ""]
        if bases:
            lines += [f"   It is also a {' and a '.join(bases[:2])}.", ""]
    return "\n".join(lines)


def _errors() -> Iterator[type[Exception]]:
    for thing in vars(errors).values():
        if inspect.isclass(thing) and issubclass(thing, errors.DaskhpcError):
            yield thing

"""The site builds without a warning, and what it shows is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import daskhpc

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "docs" / "_build" / "html"


@pytest.fixture(scope="module")
def site() -> Path:
    """The built site; only what changed since the last build is read again."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs", str(BUILD)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stderr[-5000:]
    return BUILD


def test_the_reference_has_every_public_name(site: Path) -> None:
    pages = "".join(path.read_text() for path in site.glob("generated/api-*.html"))
    modules = {name for name, home in daskhpc._HOMES.items() if not home}
    missing = [name for name in set(daskhpc.__all__) - modules if f'id="daskhpc.{name}"' not in pages]
    for module in modules - {"errors"}:
        names = getattr(daskhpc, module).__all__
        missing += [f"{module}.{name}" for name in names if f'id="daskhpc.{module}.{name}"' not in pages]
    assert not missing


def test_the_reference_has_every_command_and_setting(site: Path) -> None:
    from daskhpc.cli import main
    from daskhpc.settings import Settings

    context = click.Context(main)
    commands = (site / "reference" / "commands.html").read_text()
    names = [name for name in main.list_commands(context) if not main.get_command(context, name).hidden]
    assert not [name for name in names if f'id="daskhpc-{name}"' not in commands]
    settings = (site / "generated" / "settings.html").read_text()
    for name, setting in Settings.declared().items():
        assert f"DASK_DASKHPC__{name.upper()}" in settings
        assert all(f">{option}<" in settings for option in setting.option.split())


def test_pictures_have_a_text_for_those_who_do_not_see_them(site: Path) -> None:
    without = []
    for page in (ROOT / "docs").rglob("*.md"):
        if "generated" not in page.parts and "_build" not in page.parts:
            without += [page.name for alt in re.findall(r"!\[([^]]*)\]\(", page.read_text()) if len(alt) < 30]
    assert not without


def test_pictures_are_what_their_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "pictures"))
    import draw

    kept = {path.name: path.read_text() for path in (ROOT / "docs" / "pictures").glob("*.svg")}
    assert kept == draw.texts(), "python docs/pictures/draw.py"

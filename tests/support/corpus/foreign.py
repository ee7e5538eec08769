"""Messages that other programs are tested with, read from where they are installed; none are kept here.

Python's own tests, which Debian has in a package of their own; the Rust crate `mail-parser` (a development dependency
of `esp-mime`); and the source package `libmime-tools-perl`. What apt cannot bring is missing: see `FAMILIES`.
"""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.support import debian
from tests.support.corpus.message import Message

FAMILIES = ("python", "mail-parser", "mime-tools")
"""How the names of the messages begin, up to the first slash."""

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / "target" / "corpus"


@cache
def foreign() -> tuple[Message, ...]:
    """Return the messages of other programs' tests that are installed here."""
    return (*_python(), *_mail_parser(), *_mime_tools())


def _read(label: str, paths: Iterator[Path]) -> Iterator[Message]:
    for path in sorted(paths):
        if path.is_file():
            yield Message(f"{label}/{path.name}", path.read_bytes())


def _python() -> Iterator[Message]:
    try:
        spec = find_spec("test.test_email")
    except ModuleNotFoundError:
        spec = None
    places = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    for place in places or [_debians_python()]:
        yield from _read("python", place.glob("data/*.txt"))


def _debians_python() -> Path:
    """Return where the tests of Debian's `email` are, taken out of their package: they need not be installed."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / name
    tests = folder / "usr" / "lib" / name / "test" / "test_email"
    if not tests.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        package = f"lib{name}-testsuite"
        if (path := debian.download(package, folder)) is not None:
            subprocess.run(
                ["dpkg-deb", "--extract", path, folder], capture_output=True, check=True, timeout=120
            )
            path.unlink()
    return tests


def _mail_parser() -> Iterator[Message]:
    cargo = shutil.which("cargo")
    if cargo is None:
        return
    answer = subprocess.run(
        [cargo, "metadata", "--format-version=1", "--locked"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=300,
    )
    if answer.returncode != 0:
        return
    for package in json.loads(answer.stdout)["packages"]:
        if package["name"] == "mail-parser":
            folder = Path(package["manifest_path"]).parent / "resources" / "eml"
            for kind in sorted(folder.iterdir()) if folder.is_dir() else ():
                yield from _read(f"mail-parser/{kind.name}", kind.glob("*.eml"))


def _mime_tools() -> Iterator[Message]:
    """Debian's binary package has no messages, its source has; a mirror need not carry sources."""
    folder = CACHE / "mime-tools"
    if not any(folder.glob("*.orig.tar.*")):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _download_mime_tools(folder)
    for archive in folder.glob("*.orig.tar.*"):
        with tarfile.open(archive) as tar:
            for member in tar:
                stem = Path(member.name)
                if member.isfile() and stem.parent.name == "testmsgs" and stem.suffix == ".msg":
                    file = tar.extractfile(member)
                    if file is not None:
                        yield Message(f"mime-tools/{stem.name}", file.read())


def _download_mime_tools(folder: Path) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        return
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(
        "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
        " http://deb.debian.org/debian stable main\n"
    )
    options = [
        f"-oDir::Etc::SourceList={sources}",
        "-oDir::Etc::SourceParts=/dev/null",
        f"-oDir::State::Lists={lists}",
        "-oAPT::Sandbox::User=",
    ]
    for action in (["update"], ["source", "--download-only", "--tar-only", "libmime-tools-perl"]):
        subprocess.run(
            [apt, "-q", *options, *action], cwd=folder, capture_output=True, check=False, timeout=120
        )
    shutil.rmtree(lists, ignore_errors=True)

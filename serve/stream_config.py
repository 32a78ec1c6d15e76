"""A stream's table becomes its configuration: what depends on what, and which defaults follow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from auflow.errors import UsageError
from auflow.serve.checks import NAME_PATTERN
from auflow.serve.config import StreamConfig
from auflow.serve.keys import Faults, Unfit, keys_of, read_section, shown
from auflow.serve.source import SourceKind, parse_source
from auflow.stages.settings import StageSettings
from auflow.stages.sink.formats import require_formats
from auflow.stages.sink.paths import table_path

__all__ = ["check_outputs", "parse_stream", "read_stream"]

ROTATE_S = 3600.0
_START = "{start}"
_LIVE_KINDS = ("rtsp", "http", "webcam", "replay")


def parse_stream(
    name: str, table: object, base: Path | None = None, environ: Mapping[str, str] | None = None
) -> StreamConfig:
    """The configuration of one stream.

    Parameters
    ----------
    name : of the stream
    table : its keys, as in `[stream.NAME]`
    base : what relative paths count from; default the working folder
    environ : where `password_env` is looked up; default this process's

    Raises
    ------
    UsageError
        All that is wrong with it.
    """
    faults = Faults()
    stream = read_stream(
        name, table, (base or Path.cwd()).absolute(), os.environ if environ is None else environ, faults
    )
    if stream is not None:
        check_outputs([stream], faults)
    faults.raise_any("the stream cannot be added")
    assert stream is not None  # no mistakes: there is one
    return stream


def read_stream(
    name: object, table: object, base: Path, environ: Mapping[str, str], faults: Faults
) -> StreamConfig | None:
    """The configuration of one stream, or None with what is wrong added to `faults`."""
    before = Faults()
    where = f"stream.{name}" if _is_name(name) else f"stream.{shown(name)}"
    if not _is_name(name):
        before.add(where, "expected a name of up to 64 letters, digits, - and _, the first no - or _")
    values = read_section(StreamConfig, table, where, before)
    source = _source(values, table, where, base, before)
    if source is not None:
        kind, values["source"] = source
        kind = _complete(values, kind, where, before)
        _resolve_tracking(values, where, base, before)
        if values.get("cen_precision", "auto") != "auto" and values.get("model", "clnf") != "ceclm":
            before.add(f"{where}.cen_precision", 'is for CE-CLM: add model = "ceclm", or leave it out')
        _resolve_outputs(values, str(name), where, base, before)
        if not before:
            stream = StreamConfig(name=str(name), kind=kind, **values)
            _check_live(stream, where, environ, before)
    faults.extend(before)
    return None if before else stream


def check_outputs(streams: Iterable[StreamConfig], faults: Faults) -> None:
    """No two streams may write the same file, and none its own source."""
    writers: dict[str, str] = {}
    streams = list(streams)
    sources = {os.path.normpath(stream.path): stream.name for stream in streams if stream.kind in ("file", "replay")}
    for stream in streams:
        for key, pattern in _files(stream):
            where = f"stream.{stream.name}.{key}"
            path = os.path.normpath(pattern.replace("{name}", stream.name))
            if path in sources:
                faults.add(
                    where, f"{shown(path)} would replace the source of stream {sources[path]}; choose another name"
                )
            if path in writers:
                faults.add(where, f"{shown(path)} is written by {writers[path]} already; choose another name")
            writers[path] = where


def _files(stream: StreamConfig) -> Iterator[tuple[str, str]]:
    """What a stream writes, by the key that asks for it."""
    if stream.csv:
        for form in stream.formats:
            yield "csv" if form == "csv" else "formats", str(table_path(Path(stream.csv), form))
    if stream.jsonl:
        yield "jsonl", stream.jsonl


def _is_name(name: object) -> bool:
    return isinstance(name, str) and NAME_PATTERN.fullmatch(name) is not None


def _source(
    values: dict[str, Any], table: object, where: str, base: Path, faults: Faults
) -> tuple[SourceKind, str] | None:
    written = values.get("source")
    if written is None:
        if isinstance(table, Mapping) and "source" not in table:
            faults.add(f"{where}.source", "is missing: a stream needs something to read")
        return None
    try:
        return parse_source(written, base)
    except Unfit as error:
        faults.add(f"{where}.source", f"expected {error} (what came is not shown: it may hold a password)")
        return None


def _complete(values: dict[str, Any], kind: SourceKind, where: str, faults: Faults) -> SourceKind:
    """Fill in the policy, settle the kind, and check every key against the two."""
    policy = values.setdefault("policy", "file" if kind == "file" else "live")
    if policy == "file" and kind in _LIVE_KINDS:
        advice = "write the path without file:" if kind == "replay" else "it does not wait for whoever is late"
        faults.add(f"{where}.policy", f'expected "live" for a {kind} source ({advice}), got "file"')
        policy = values["policy"] = "live"
    if policy == "live" and kind == "file":
        kind, values["source"] = "replay", f"file:{values['source']}"
    for name, spec in keys_of(StreamConfig).items():
        if name in values and spec.only and not {kind, policy} & set(spec.only):
            only = " or ".join(spec.only)
            faults.add(f"{where}.{name}", f"is only for {only}; this source is {kind}, its policy {policy}")
    return kind


def _resolve_tracking(values: dict[str, Any], where: str, base: Path, faults: Faults) -> None:
    """A live stream saves work where it can; a recording has OpenFace's numbers to the letter."""
    coherent = values.setdefault("tracking", "coherent" if values["policy"] == "live" else "openface") == "coherent"
    if model := values.get("identity_model"):
        values["identity_model"] = os.path.normpath(base / model)
        if not os.path.isfile(values["identity_model"]):
            faults.add(f"{where}.identity_model", f"expected an ONNX file, got {shown(model)}, which is none")
    several = coherent and values.get("faces") == "all"
    if not values.setdefault("identities", several or bool(model)) and model:
        faults.add(f"{where}.identity_model", "is for identities: add identities = true, or leave it out")
    defaults = StageSettings()
    for name in () if coherent else ("detect_every", "reuse_below_percent"):
        default = getattr(defaults, name)
        if values.get(name, default) != default:  # what is written in full may say the defaults
            faults.add(f"{where}.{name}", 'is for coherent tracking: add tracking = "coherent", or leave it out')


def _check_live(stream: StreamConfig, where: str, environ: Mapping[str, str], faults: Faults) -> None:
    if stream.password_env and stream.password_env not in environ:
        faults.add(f"{where}.password_env", "the service's environment has no variable of this name (not shown here)")
    try:
        _ = stream.live  # its own checks, which show nothing of the address that is secret
    except UsageError as error:
        faults.add("", f"{where}.{str(error).replace('url:', 'source:', 1)}")


def _resolve_outputs(values: dict[str, Any], name: str, where: str, base: Path, faults: Faults) -> None:
    live = values["policy"] == "live"
    values.setdefault("csv", "" if live else "{name}.csv")
    values.setdefault("jsonl", "")
    for key in ("csv", "jsonl"):
        if values[key] and live and _START not in values[key]:
            faults.add(
                f"{where}.{key}",
                f"expected {_START} in the path of a live stream, else the file is overwritten when the service starts "
                f"again; got {shown(values[key])}",
            )
        values[key] = _absolute(values[key], f"{where}.{key}", base, faults)
    if not values["csv"]:
        if not live:
            faults.add(f"{where}.csv", "is all that comes of a recording: give it a path, or leave it out for NAME.csv")
        for key in ("hog", "aligned", "formats"):
            if values.get(key, ("csv",)) not in (False, ("csv",)):  # what is written in full may say the defaults
                faults.add(f"{where}.{key}", "is written beside the CSV, and there is none: give csv a path")
    try:
        require_formats(values.get("formats", ()))
    except UsageError as error:
        faults.add(f"{where}.formats", str(error))
    values.setdefault("rotate_s", ROTATE_S if live and (values["csv"] or values["jsonl"]) else 0.0)


def _absolute(pattern: str, where: str, base: Path, faults: Faults) -> str:
    if not pattern:
        return ""
    try:
        return str(base / Path(pattern).expanduser())
    except RuntimeError:  # ~NAME of a user that is not there
        faults.add(where, f"expected a path below a home folder that is there, got {shown(pattern)}")
        return pattern

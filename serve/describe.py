"""A configuration as it was understood, in TOML: every default filled in, no secret shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from auflow.serve.config import ServeConfig, StreamConfig
from auflow.serve.keys import keys_of

__all__ = ["describe"]

_HIDDEN = "***"
# For the control characters that JSON leaves as they are and TOML does not take; the reader of keys refuses all others.
_ESCAPES = {127: "\\u007f"}


def describe(config: ServeConfig) -> str:
    """The configuration as TOML that says the same; of credentials only that they are there."""
    top = {"state_dir": str(config.state_dir), "models_dir": str(config.models_root)}
    sections = {
        "workers": asdict(config.workers),
        "control": {"socket": str(config.control_socket)},
        "http": asdict(config.http),
        "web": asdict(config.web) | ({"token_env": _HIDDEN} if config.web.token_env else {}),
        "bus": asdict(config.bus),
        "telemetry": asdict(config.telemetry),
        "limits": asdict(config.limits),
    }
    lines = list(_pairs(top))
    for name, values in sections.items():
        lines += ["", f"[{name}]", *_pairs(values)]
    for stream in config.streams:
        lines += ["", f"[stream.{stream.name}]", *_pairs(_stream(stream))]
    return "\n".join(lines) + "\n"


def _stream(stream: StreamConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, spec in keys_of(StreamConfig).items():
        value = getattr(stream, name)
        if value is None or (spec.only and not {stream.kind, stream.policy} & set(spec.only)):
            continue
        if not spec.secret:
            shown[name] = value
        elif name == "source":
            shown[name] = stream.shown_source
        elif value:
            shown[name] = _HIDDEN
    return shown


def _pairs(values: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name} = {_toml(value)}" for name, value in values.items())


def _toml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).translate(_ESCAPES)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(each) for each in value)}]"
    return json.dumps(value)

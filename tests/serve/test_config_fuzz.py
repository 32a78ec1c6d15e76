"""Whatever a configuration or a request holds: it is understood, or it is a `UsageError`, and nothing else."""

from __future__ import annotations

import random
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auflow.errors import UsageError
from auflow.serve.config import StreamConfig
from auflow.serve.control import OPERATIONS, dispatch
from auflow.serve.describe import describe
from auflow.serve.keys import keys_of
from auflow.serve.lines import BadLine, LineReader, decode_line, encode_line
from auflow.serve.loading import SECTIONS, load_config, parse_config

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "deploy" / "serve.toml").read_bytes()
BASE = Path("/etc/auflow")
ENVIRON = {"STATE_DIRECTORY": "/state", "RUNTIME_DIRECTORY": "/run/auflow", "P": "x"}
MUTATIONS = 1500
QUIET = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

SNIPPETS = [
    *(
        "[",
        "]",
        "[[",
        '"',
        "'",
        '"""',
        "=",
        "#",
        "\n",
        ".",
        ",",
        "{",
        "}",
        "\\",
        "\\u0000",
        "\0",
        "\xff",
        "é",
        "@",
        "://",
    ),
    *(
        "nan",
        "inf",
        "-inf",
        "1e400",
        "true",
        "0x" + "f" * 3000,
        "9" * 5000,
        "-1",
        "0",
        "1979-05-27T07:32:00Z",
        "[" * 3000,
    ),
    *(
        "stream",
        "[stream.x]",
        'source = "',
        "rtsp://",
        "rtsp://[",
        "file:",
        "file:~x/",
        "~",
        "{start}",
        "{name}",
        "{0}",
    ),
]
WORDS = st.sampled_from(
    ["rtsp://u:p@h/1", "rtsp://[::1", "http://h:99999/", "webcam:0", "webcam:", "file:", "file:a", "a.mp4", "-", "~x/y",
     "", "live", "file", "tcp", "udp", "all", "widest", "P", "{start}", "{name}.csv", "{", "\0", "\ud800", "a\nb",
     "tcp://*:1", "ipc://x", "127.0.0.1:0", "[::1]:8717", "::", "x" * 5000]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | WORDS
    | st.text(max_size=20)
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def tables(section: type) -> st.SearchStrategy[Any]:
    names = st.sampled_from(list(keys_of(section))) | st.text(max_size=12)
    return st.dictionaries(names, VALUES, max_size=8) | VALUES


STREAMS = st.dictionaries(
    st.sampled_from(["a", "door", "x y", ""]) | st.text(max_size=8), tables(StreamConfig), max_size=3
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        **{name: tables(section) for name, section in SECTIONS.items()},
        "stream": STREAMS | VALUES,
        "state_dir": VALUES,
        "models_dir": VALUES,
        "x": VALUES,
    },
)


@QUIET
@given(DOCUMENTS)
def test_any_document(document: dict[str, Any]) -> None:
    with suppress(UsageError):
        tomllib.loads(describe(parse_config(document, BASE, "t", ENVIRON)))


@QUIET
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with suppress(UsageError):
        load_config(path, ENVIRON)


def test_mutations_of_the_example(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    generator = random.Random(5)
    understood = 0
    # Half of them with every commented key put to use, which reaches deeper.
    everything = EXAMPLE.replace(b"\n# ", b"\n")
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(generator.choice((EXAMPLE, everything)), generator))
        with suppress(UsageError):
            tomllib.loads(describe(load_config(path, {**ENVIRON, "DOOR_PASSWORD": "hunter2"})))
            understood += 1
    assert 0 < understood < MUTATIONS


def mutated(data: bytes, generator: random.Random) -> bytes:
    for _ in range(generator.randint(1, 4)):
        place, end = (generator.randrange(len(data) + 1) for _ in range(2))
        snippet = generator.choice(SNIPPETS).encode("utf-8")
        match generator.randrange(5):
            case 0:
                data = data[:place] + snippet + data[place:]
            case 1:
                data = data[:place] + data[place + generator.randint(1, 30) :]
            case 2:
                data = data[:place] + bytes([generator.randrange(256)]) + data[place + 1 :]
            case 3:
                lines = data.split(b"\n")
                lines.insert(generator.randrange(len(lines)), generator.choice(lines))
                data = b"\n".join(lines)
            case 4:
                keep = data.find(b"\n", place) + 1
                data = data[:place] + snippet + data[max(keep, min(end, place + 40)) :]
    return data


REQUESTS = st.dictionaries(
    st.sampled_from(["op", "name", "stream", "base", "x"]), VALUES, max_size=4
) | st.fixed_dictionaries(
    {"op": st.sampled_from(list(OPERATIONS))},
    optional={"name": VALUES | st.just("door"), "stream": tables(StreamConfig), "base": VALUES | st.just("/x")},
)


@QUIET
@given(REQUESTS)
def test_any_request(request: dict[str, Any]) -> None:
    class Service:
        def __getattr__(self, name: str) -> Any:
            return lambda *arguments: {}

    answer = dispatch(Service(), request)  # type: ignore[arg-type]
    assert answer["ok"] or answer["code"] == UsageError.exit_code, answer
    decode_line(encode_line(answer))


@QUIET
@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([b"{}\n", b'{"a":', b"1}\n", b"[" * 100_000 + b"\n"]), max_size=8)
)
def test_any_bytes_on_the_control_socket(pieces: list[bytes]) -> None:
    reader = LineReader(limit=1000)
    try:
        lines = [line for piece in pieces for line in reader.feed(piece)]
    except BadLine:
        assert max(len(line) for line in b"".join(pieces).split(b"\n")) > 1000
        return
    assert lines == [line for line in b"".join(pieces).split(b"\n")[:-1] if line.strip()]
    for line in lines:
        with suppress(BadLine):
            assert isinstance(decode_line(line), dict)

"""A configuration: defaults, what depends on what, and the message of each mistake."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auflow.errors import UsageError
from auflow.serve import loading
from auflow.serve.config import ServeConfig
from auflow.serve.loading import load_config, parse_config
from auflow.serve.stream_config import parse_stream

BASE = Path("/etc/auflow")
RTSP = '[stream.door]\nsource = "rtsp://10.0.0.7/1"\n'


def parse(text: str, **environ: str) -> ServeConfig:
    return parse_config(tomllib.loads(text), BASE, "serve.toml", {"STATE_DIRECTORY": "/state", **environ})


def mistakes(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse(text, DOOR_PASSWORD="x")
    head, *lines = str(caught.value).split("\n  ")
    assert head == f"serve.toml: {len(lines)} mistake{'s' if len(lines) > 1 else ''}"
    return lines


@pytest.mark.parametrize(("said", "comes"), [("auto", "float32"), ("float32", "float32"), ("int8", "int8")])
def test_the_precision_of_ceclm(said: str, comes: str) -> None:
    (door,) = parse(f"{RTSP}model = 'ceclm'\ncen_precision = '{said}'").streams
    assert door.settings.cen_precision == comes


def test_a_camera_needs_its_source_only() -> None:
    config = parse(RTSP)
    (door,) = config.streams
    assert (door.name, door.kind, door.policy, door.max_age_s) == ("door", "rtsp", "live", 1.0)
    assert (door.csv, door.rotate_s, door.jsonl) == ("", 0.0, "")
    assert door.settings.live
    assert not door.settings.keep_series
    assert door.live is not None
    assert (door.live.url, door.live.rtsp_transport) == ("rtsp://10.0.0.7/1", "tcp")
    assert config.state_dir == Path("/state")
    assert (config.workers.live_lanes, config.workers.file_lanes, config.workers.detectors) == (1, 1, 1)
    assert (config.http.address, config.bus.address) == ("127.0.0.1:8717", "tcp://127.0.0.1:8718")


@pytest.mark.parametrize(
    ("source", "kind", "policy", "stored"),
    [
        ("rtsp://h/1", "rtsp", "live", "rtsp://h/1"),
        ("RTSPS://h/1", "rtsp", "live", "RTSPS://h/1"),
        ("http://h/mjpg", "http", "live", "http://h/mjpg"),
        ("webcam:0", "webcam", "live", "webcam:0"),
        ("file:clip.mp4", "replay", "live", "file:/etc/auflow/clip.mp4"),
        ("clip.mp4", "file", "file", "/etc/auflow/clip.mp4"),
        ("/data/frames", "file", "file", "/data/frames"),
    ],
)
def test_the_kind_follows_from_the_source(source: str, kind: str, policy: str, stored: str) -> None:
    stream = parse_stream("a", {"source": source}, BASE, {})
    assert (stream.kind, stream.policy, stream.source) == (kind, policy, stored)
    assert (stream.live is None) == (policy == "file")
    assert stream.settings.live == (policy == "live")


def test_a_path_with_policy_live_is_played_as_a_camera() -> None:
    stream = parse_stream("a", {"source": "clip.mp4", "policy": "live", "loop": True}, BASE, {})
    assert (stream.kind, stream.source, stream.path) == ("replay", "file:/etc/auflow/clip.mp4", BASE / "clip.mp4")
    assert stream.live is not None
    assert stream.live.loop


def test_paths_of_outputs_are_absolute_and_filled_in() -> None:
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    live = parse_stream("door", {"source": "webcam:0", "csv": "out/{name}-{start}.csv"}, BASE, {})
    assert live.csv_path(began) == BASE / "out/door-20260102T030405Z.csv"
    assert live.jsonl_path(began) is None
    assert live.rotate_s == 3600.0
    assert live.settings.keep_series
    lines = parse_stream("door", {"source": "webcam:0", "jsonl": "/x/{name}-{start}.jsonl"}, BASE, {})
    assert lines.jsonl_path(began) == Path("/x/door-20260102T030405Z.jsonl")
    file = parse_stream("tape", {"source": "tape.mp4"}, BASE, {})
    assert (file.csv_path(began), file.rotate_s) == (BASE / "tape.csv", 0.0)


def test_cameras_are_followed_coherently_and_recordings_as_openface_does() -> None:
    camera = parse_stream("cam", {"source": "webcam:0"}, BASE, {}).settings
    assert (camera.tracking, camera.detect_every, camera.reuse_below_percent) == ("coherent", 5, 5.0)
    assert not camera.identities
    several = parse_stream("cam", {"source": "webcam:0", "faces": "all"}, BASE, {}).settings
    assert several.identities
    tape = parse_stream("tape", {"source": "tape.mp4"}, BASE, {}).settings
    assert (tape.tracking, tape.identities) == ("openface", False)
    played = parse_stream("tape", {"source": "tape.mp4", "policy": "live"}, BASE, {})
    assert played.settings.coherent


def test_a_network_that_tells_persons_apart_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "faces.onnx").write_bytes(b"")
    camera = {"source": "webcam:0", "identity_model": "faces.onnx"}
    settings = parse_stream("cam", camera, tmp_path, {}).settings
    assert (settings.identities, settings.identity_model) == (True, str(tmp_path / "faces.onnx"))
    with pytest.raises(UsageError, match=r"stream.cam.identity_model: expected an ONNX file, got"):
        parse_stream("cam", camera, tmp_path / "elsewhere", {})
    with pytest.raises(UsageError, match=r"is for identities: add identities = true"):
        parse_stream("cam", camera | {"identities": False}, tmp_path, {})


def test_tracking_can_be_chosen() -> None:
    exact = parse_stream("cam", {"source": "webcam:0", "tracking": "openface"}, BASE, {}).settings
    assert (exact.tracking, exact.identities) == ("openface", False)
    told = {"tracking": "coherent", "detect_every": 12, "reuse_below_percent": 0, "identities": False}
    tape = parse_stream("tape", {"source": "tape.mp4", **told}, BASE, {}).settings
    assert {name: getattr(tape, name) for name in told} == told
    people = parse_stream("tape", {"source": "tape.mp4", "faces": "all", "identities": True}, BASE, {}).settings
    assert not people.independent


def test_defaults_of_coherent_tracking_may_be_written_out() -> None:
    written = {"source": "tape.mp4", "detect_every": 5, "reuse_below_percent": 5.0}  # as --check prints it
    assert parse_stream("tape", written, BASE, {}) == parse_stream("tape", {"source": "tape.mp4"}, BASE, {})


def test_formats_of_the_table_come_in_their_order() -> None:
    stream = parse_stream("tape", {"source": "tape.mp4", "formats": ["jsonl", "parquet"]}, BASE, {})
    assert stream.settings.formats == ("parquet", "jsonl")
    assert parse_stream("tape", {"source": "tape.mp4"}, BASE, {}).settings.formats == ("csv",)
    printed = parse_stream(
        "cam", {"source": "webcam:0", "csv": "", "formats": ["csv"]}, BASE, {}
    )  # as --check prints it
    assert (printed.csv, printed.formats) == ("", ("csv",))


def test_a_format_whose_package_is_missing_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auflow.stages.sink.formats.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"stream\.tape\.formats: .*pip install 'auflow\[parquet\]'"):
        parse_stream("tape", {"source": "tape.mp4", "formats": ["parquet"]}, BASE, {})
    assert parse_stream("tape", {"source": "tape.mp4", "formats": ["jsonl"]}, BASE, {}).formats == ("jsonl",)


@pytest.mark.parametrize(
    ("cpus", "streams", "lanes"),
    [
        (8, {"live": 2, "file": 0}, (2, 1, 1)),
        (8, {"live": 9, "file": 0}, (4, 1, 1)),
        (1, {"live": 3, "file": 2}, (1, 1, 1)),
        (32, {"live": 30, "file": 1}, (16, 1, 5)),
        (8, {"live": 0, "file": 3}, (1, 1, 1)),
        (8, {"live": 0, "file": 0}, (1, 1, 1)),
    ],
)
def test_lanes_follow_from_cpus_and_streams(
    cpus: int, streams: dict[str, int], lanes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "available_cpus", lambda: cpus)
    live = "".join(f'[stream.l{n}]\nsource = "webcam:{n}"\n' for n in range(streams["live"]))
    files = "".join(f'[stream.f{n}]\nsource = "{n}.mp4"\n' for n in range(streams["file"]))
    workers = parse(live + files).workers
    assert (workers.live_lanes, workers.file_lanes, workers.detectors) == lanes


def test_ipc_and_folders_count_from_the_file() -> None:
    config = parse('state_dir = "s"\nmodels_dir = "m"\n[bus]\naddress = "ipc://bus.sock"\n[control]\nsocket = "c.sock"')
    assert (config.state_dir, config.models_root) == (BASE / "s", BASE / "m")
    assert (config.bus.address, config.control_socket) == ("ipc:///etc/auflow/bus.sock", BASE / "c.sock")


def test_detection_on_other_hosts() -> None:
    assert parse("").workers.detectors_at == ()
    text = (
        "[workers]\ndetectors_at = ['tcp://10.0.0.9:8719', 'ipc://d.sock', 'tcp://10.0.0.9:8719']\nkeys_dir = 'keys/a'"
    )
    workers = parse(text).workers
    assert workers.detectors_at == ("tcp://10.0.0.9:8719", "ipc:///etc/auflow/d.sock")  # each once
    assert workers.keys_dir == "/etc/auflow/keys/a"
    assert parse("[workers]\ndetectors_at = ['tcp://[::1]:8719']").workers.keys_dir == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stat_dir = 'x'", "stat_dir: no such key; did you mean state_dir?"),
        ("streams = 1", "streams: no such key; did you mean stream?"),
        (
            "[[stream]]\nsource = 'a'",
            "stream: expected a table for each stream, [stream.NAME] and not [[stream]], got a",
        ),
        ("workers = 3", "workers: expected a table, got 3"),
        ("[workers]\nlive_lane = 1", "workers.live_lane: no such key; did you mean live_lanes?"),
        ("[workers]\nlive_lanes = true", "workers.live_lanes: expected a whole number from 0 to 256, got true"),
        ("[workers]\nlive_lanes = 0\nfile_lanes = 0", "workers: expected at least one lane"),
        ("[workers]\ndetectors_at = 'tcp://127.0.0.1:1'", "workers.detectors_at: expected a list of addresses such as"),
        ("[workers]\ndetectors_at = [7]", "workers.detectors_at: expected text in quotes"),
        ("[workers]\ndetectors_at = ['10.0.0.9']", "workers.detectors_at: '10.0.0.9': expected tcp://HOST:PORT or ipc"),
        ("[workers]\ndetectors_at = ['ipc://']", "workers.detectors_at: 'ipc://': expected tcp://HOST:PORT or ipc"),
        (
            "[workers]\ndetectors_at = ['ipc:///" + "x" * 120 + "']",
            "workers.detectors_at: expected a socket path of up to 107 bytes, got 121",
        ),
        (
            "[workers]\ndetectors_at = ['tcp://10.0.0.9:8719']",
            "workers.detectors_at: tcp://10.0.0.9:8719: expected keys for an address beyond this machine, got none. "
            "Make them with `auflow keys new DIR`",
        ),
        (
            "[workers]\ndetectors_at = ['tcp://127.0.0.1:*']",
            "workers.detectors_at: expected the port that `auflow detect` tells, got",
        ),
        (RTSP + "[workers]\nlive_lanes = 0", "workers.live_lanes: expected room for 1 live streams, got 0 lanes"),
        ("[stream.a]\nsource = 'a.mp4'\n[workers]\nfile_lanes = 0", "workers.file_lanes: expected at least 1"),
        ("[limits]\ndrain_s = -1", "limits.drain_s: expected seconds from 0 to 3600, got -1"),
        ("[limits]\ndrain_s = inf", "limits.drain_s: expected seconds from 0 to 3600, got inf"),
        (
            "[limits]\nrestarts = 0x" + "f" * 5000,
            "limits.restarts: expected a whole number from 0 to 100000, got a whole",
        ),
        ("[http]\naddress = '0.0.0.0:80'", "http.address: expected an address of this machine only"),
        ("[http]\naddress = 'localhost:80'", "http.address: expected an address of this machine only"),
        ("[http]\naddress = '127.0.0.1:66000'", "http.address: expected HOST:PORT"),
        ("[http]\naddress = '::1:80'", "http.address: expected HOST:PORT"),
        ("[web]\naddress = '0.0.0.0:80'", "web.address: expected an address of this machine only"),
        ("[web]\naddress = 'localhost:80'", "web.address: expected an address of this machine only"),
        ("[web]\naddress = '127.0.0.1'", "web.address: expected HOST:PORT"),
        ("[web]\naddress = '127.0.0.1:0'", "web.address: expected HOST:PORT"),
        ("[web]\naddress = '[::1]:80'\ntoken_env = 'NOT_SET'", "web.token_env: expected the name of an environment"),
        ("[bus]\naddress = 'tcp://*:8718'", "bus.address: expected an address of this machine only"),
        ("[bus]\naddress = 'udp://127.0.0.1:1'", "bus.address: expected tcp://HOST:PORT or ipc://PATH"),
        ("[bus]\naddress = 'ipc://@name'", "bus.address: expected tcp://HOST:PORT or ipc://PATH"),
        (
            "[control]\nsocket = '/" + "x" * 120 + "'",
            "control.socket: expected a socket path of up to 107 bytes, got 121",
        ),
        ("state_dir = '~nobody-of-this-name/x'", "state_dir: expected a path below a home folder"),
        ("[stream.'a b']\nsource = 'webcam:0'", 'stream."a b": expected a name of up to 64 letters'),
        ("[stream.a]", "stream.a.source: is missing"),
        (
            "[stream.a]\nsource = 'a.mp4'\ndetect_every = 9",
            'stream.a.detect_every: is for coherent tracking: add tracking = "coherent"',
        ),
        (
            RTSP + "tracking = 'openface'\nreuse_below_percent = 1",
            'stream.door.reuse_below_percent: is for coherent tracking: add tracking = "coherent"',
        ),
        (RTSP + "cen_precision = 'int8'", 'stream.door.cen_precision: is for CE-CLM: add model = "ceclm"'),
        (RTSP + "cen_precision = 'bf16'", "stream.door.cen_precision: expected one of auto, float32, int8, got"),
        (RTSP + "detect_every = 0", "stream.door.detect_every: expected a whole number from 1 to 1000000, got 0"),
        (
            RTSP + "reuse_below_percent = 101",
            "stream.door.reuse_below_percent: expected percent from 0 to 100, got 101",
        ),
        (RTSP + "tracking = 'exact'", "stream.door.tracking: expected one of openface, coherent, got"),
        (RTSP + "identities = 1", "stream.door.identities: expected true or false, got 1"),
        ("[stream.a]\nsource = 7", "stream.a.source: expected text in quotes"),
        ("[stream.a]\nsource = '-'", "stream.a.source: expected a source of the stream's own"),
        ("[stream.a]\nsource = 'ftp://h/x'", "stream.a.source: expected rtsp://HOST/PATH"),
        ("[stream.a]\nsource = 'rtsp://[h/x'", "stream.a.source: rtsp://[h/x: "),
        ("[stream.a]\nsource = 'webcam:'", "stream.a.source: expected something after webcam:"),
        (RTSP + "polcy = 'live'", "stream.door.polcy: no such key; did you mean policy?"),
        (RTSP + "policy = 'file'", 'stream.door.policy: expected "live" for a rtsp source'),
        (RTSP + "loop = true", "stream.door.loop: is only for replay; this source is rtsp, its policy live"),
        (RTSP + "max_age_s = 0", "stream.door.max_age_s: expected seconds above 0 to 3600, got 0"),
        (RTSP + "max_age_s = nan", "stream.door.max_age_s: expected seconds above 0 to 3600, got nan"),
        (RTSP + "transport = 'quic'", 'stream.door.transport: expected one of tcp, udp, got "quic"'),
        (RTSP + "camera = [1, 2, 3]", "stream.door.camera: expected [fx, fy, cx, cy] in pixels, got a list of 3"),
        (RTSP + "camera = [1, 2, 3, 0]", "stream.door.camera: expected [fx, fy, cx, cy], four numbers above 0"),
        (RTSP + "columns = ['aus', 'smile']", "stream.door.columns: expected a list of some of gaze, pose"),
        (RTSP + "csv = 'a.csv'", "stream.door.csv: expected {start} in the path of a live stream"),
        (RTSP + "csv = '{nam}-{start}'", "stream.door.csv: expected a path in which only {name} and {start}"),
        (RTSP + "hog = true", "stream.door.hog: is written beside the CSV, and there is none"),
        (
            RTSP + "username = 'u'\npassword_env = 'NOT_THERE'",
            "stream.door.password_env: the service's environment has no",
        ),
        (RTSP + "password_env = 'DOOR_PASSWORD'", "stream.door.password_env: a password needs a username"),
        ("[stream.a]\nsource = 'a.mp4'\nmax_age_s = 1", "stream.a.max_age_s: is only for live"),
        ("[stream.a]\nsource = 'a.csv'", 'stream.a.csv: "/etc/auflow/a.csv" would replace the source of stream a'),
        (
            "[stream.a]\nsource = 'webcam:0'\ncsv = 'a{start}'\njsonl = 'a{start}'",
            'stream.a.jsonl: "/etc/auflow/a{start}" is written by stream.a.csv',
        ),
        (RTSP + "formats = ['csv', 'xlsx']", "stream.door.formats: expected a list of some of csv, parquet, jsonl"),
        (RTSP + "formats = []", "stream.door.formats: expected a list of some of csv, parquet, jsonl"),
        (RTSP + "formats = ['parquet']", "stream.door.formats: is written beside the CSV, and there is none"),
        (
            "[stream.a]\nsource = 'webcam:0'\ncsv = 'a{start}.csv'\njsonl = 'a{start}.jsonl'\nformats = ['jsonl']",
            'stream.a.jsonl: "/etc/auflow/a{start}.jsonl" is written by stream.a.formats',
        ),
        (
            "[stream.a]\nsource = 'a.jsonl'\nformats = ['csv', 'jsonl']",
            'stream.a.formats: "/etc/auflow/a.jsonl" would replace the source of stream a',
        ),
        ("[stream.a]\nsource = 'a.mp4'\ncsv = ''", "stream.a.csv: is all that comes of a recording"),
        ("[stream.a]\nsource = 'a.mp4'\njsonl = 'a.jsonl'", "stream.a.jsonl: is only for live"),
    ],
)
def test_a_mistake_names_its_key(text: str, expected: str) -> None:
    lines = mistakes(text)
    assert len(lines) == 1, lines
    assert lines[0].startswith(expected)


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes("x = 1\n[http]\naddress = 3\n[stream.a]\nsource = 'webcam:0'\nwild = 1\nau_statik = true\n")
    assert [line.partition(":")[0] for line in found] == ["x", "http.address", "stream.a.wild", "stream.a.au_statik"]


def test_hundreds_of_mistakes_are_cut_short() -> None:
    with pytest.raises(UsageError, match=r"serve.toml: 300 mistakes(.|\n)*and 250 more$"):
        parse("".join(f"k{n} = 1\n" for n in range(300)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = ", "expected TOML"),
        (b"\xff\xfe", "expected TOML"),
        (b"a = " + b"9" * 5000, "expected TOML"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"#" * (1 << 20) + b"#", "up to 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_toml(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=expected) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(Path("a\0b"))

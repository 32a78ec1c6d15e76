"""The configuration of a service: what stands in its file, checked and with every default filled in."""

# ruff: noqa: RUF009 - `key` makes a dataclasses.field, which is no shared value
from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from auflow.serve.checks import (
    addresses,
    backend,
    each_of,
    flag,
    four_numbers,
    number,
    one_of,
    optional,
    output_pattern,
    text,
    variable_name,
    whole,
)
from auflow.serve.keys import key
from auflow.serve.source import SourceKind
from auflow.stages.settings import (
    COLUMN_CHOICES,
    FORMATS,
    CenChoice,
    Columns,
    Format,
    Model,
    Precision,
    StageSettings,
    Tracking,
)

if TYPE_CHECKING:
    from auflow.stages.decode.live.spec import LiveSpec

__all__ = [
    "BusConfig",
    "ControlConfig",
    "HardwareDecode",
    "HttpConfig",
    "LimitsConfig",
    "Policy",
    "ServeConfig",
    "ServiceConfig",
    "StreamConfig",
    "TelemetryConfig",
    "Transport",
    "WebConfig",
    "WorkersConfig",
]

Policy = Literal["live", "file"]
Transport = Literal["tcp", "udp"]
HardwareDecode = Literal["none", "auto", "cuda", "vaapi", "videotoolbox"]
_StreamFaces = Literal["widest", "all"]
_DAY_S = 86400.0
_DEFAULTS = StageSettings()


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """One stream: what it reads, how, and what it leaves."""

    name: str  # of the stream: its table's, up to 64 letters, digits, - and _
    kind: SourceKind  # what the source is
    source: str = key(
        "", text, "`rtsp://…`, `http://…` (MJPEG), `webcam:0`, a video file or a folder of images, or `file:CLIP`: "
        "a video read as if it were a camera", shown_as="(needed)", secret=True,  # a URL may carry some
    )  # fmt: skip
    policy: Policy = key(
        "live", one_of(get_args(Policy)), "`live`: the newest picture wins, what is older is counted as dropped; "
        "`file`: every picture, however long it takes", shown_as="by the source",
    )  # fmt: skip
    username: str = key("", text, "user at the camera", secret=True, only=("rtsp", "http"))
    password_env: str = key(
        "", optional(variable_name), "environment variable (of the service) that holds the password",
        secret=True, only=("rtsp", "http"),
    )  # fmt: skip
    transport: Transport = key("tcp", one_of(get_args(Transport)), "how RTP travels: `tcp` or `udp`", only=("rtsp",))
    open_timeout_s: float = key(
        10.0, number("seconds", 0.1, 600.0), "seconds that a connection may take", only=("rtsp", "http", "webcam")
    )
    read_timeout_s: float = key(
        5.0, number("seconds", 0.1, 600.0), "seconds without data or picture until the connection is given up",
        only=("rtsp", "http", "webcam"),
    )  # fmt: skip
    stalled_after_s: float = key(
        2.0,
        number("seconds", 0.1, 600.0),
        "seconds without a picture until the source counts as stalled",
        only=("live",),
    )
    first_picture_timeout_s: float = key(
        30.0, number("seconds", 0.1, 600.0), "seconds from the connection to the first picture",
        only=("rtsp", "http", "webcam"),
    )  # fmt: skip
    hwaccel: HardwareDecode = key(
        "none", one_of(get_args(HardwareDecode)), "decode in hardware: `none`, `auto`, `cuda`, `vaapi` or "
        "`videotoolbox`; falls back to software and says so", only=("live",),
    )  # fmt: skip
    loop: bool = key(False, flag, "start again at the end of the clip", only=("replay",))
    max_age_s: float = key(
        1.0, number("seconds", 0.0, 3600.0, above=True), "a picture older than so many seconds is dropped at ingest",
        only=("live",),
    )  # fmt: skip
    faces: _StreamFaces = key(
        "widest", one_of(get_args(_StreamFaces)), "`widest`: the widest face; `all`: up to four, with static AUs where"
        " there are no `identities`",
    )  # fmt: skip
    tracking: Tracking = key(
        "openface", one_of(get_args(Tracking)), "`openface`: its logic to the letter; `coherent`: looks for faces only "
        "where that may tell something new, keeps descriptors of faces that have not changed",
        shown_as="coherent for live, openface for file",
    )  # fmt: skip
    detect_every: int = key(
        _DEFAULTS.detect_every, whole(1, 1_000_000), "least frames from one look for faces to the next where"
        " nobody was lost lately, with several faces always; with `coherent` only",
    )  # fmt: skip
    reuse_below_percent: float = key(
        _DEFAULTS.reuse_below_percent, number("percent", 0.0, 100.0), "a face no pixel of which has changed by more"
        " keeps its descriptor and AUs; 0: never; with `coherent` only",
    )  # fmt: skip
    identities: bool = key(
        False, flag, "number faces by the person, who keeps the number through crossings and after an absence, and "
        "correct AUs by each person's own medians; else by the tracker",
        shown_as='with `coherent` and `faces = "all"`',
    )  # fmt: skip
    identity_model: str = key(
        "", text, "path of an ONNX network for face recognition (input n x 3 x 112 x 112) to tell persons apart,"
        " instead of by auflow's own descriptor; with `identities` only", shown_as="none",
    )  # fmt: skip
    wild: bool = key(False, flag, "search wider and longer for a face")
    au_static: bool = key(False, flag, "AU models without a running median")
    model: Model = key("clnf", one_of(get_args(Model)), "landmark model: `clnf`, or `ceclm` (slower, fetched apart)")
    cen_precision: CenChoice = key(
        "auto", one_of(get_args(CenChoice)), "numbers of the dense layers of `ceclm`'s experts: `float32`, `int8`"
        " (about three times faster, moves landmarks a little) or `auto` (`float32` where nothing was measured)",
    )  # fmt: skip
    camera: tuple[float, float, float, float] | None = key(
        None, four_numbers, "`[fx, fy, cx, cy]` in pixels", shown_as="by the picture's size"
    )
    clnf_iterations: int | None = key(
        None, whole(1, 1000), "most iterations of an optimisation of the landmark fit", shown_as="5, with `wild` 10"
    )
    clnf_tolerance_px: float | None = key(
        None, number("pixels", 0.0, 1000.0), "converged when all landmarks together move less; 0: never",
        shown_as="0.01",
    )  # fmt: skip
    csv: str = key(
        "", output_pattern, "path of the CSV; `{name}` is the stream's, `{start}` when the file was begun (UTC); "
        '`""`: none', shown_as="none for live, `{name}.csv` for file",
    )  # fmt: skip
    rotate_s: float = key(
        0.0, number("seconds", 0.0, 366 * _DAY_S), "begin a new CSV (and JSON lines) after so many seconds; 0: never",
        only=("live",), shown_as="3600 with a file, else 0",
    )  # fmt: skip
    jsonl: str = key(
        "", output_pattern, "path of a file of JSON lines, a result in each; placeholders as in `csv`", only=("live",)
    )
    formats: tuple[Format, ...] = key(
        ("csv",), each_of(FORMATS), f"files of the table, some of {', '.join(FORMATS)}: beside the CSV, or instead of"
        " it, under its name with another ending", shown_as='`["csv"]`',
    )  # fmt: skip
    columns: tuple[Columns, ...] = key(
        COLUMN_CHOICES, each_of(COLUMN_CHOICES), f"groups of the CSV, some of {', '.join(COLUMN_CHOICES)}",
        shown_as="all",
    )  # fmt: skip
    precision: Precision = key(
        "openface", one_of(get_args(Precision)), "decimals of the CSV: `openface`'s, or six everywhere (`full`)"
    )
    hog: bool = key(False, flag, "also the FHOG descriptors, beside the CSV")
    aligned: bool = key(False, flag, "also the aligned faces, beside the CSV")
    paused: bool = key(False, flag, "start paused; `auflow ctl resume NAME` goes on")

    @property
    def live(self) -> LiveSpec | None:
        """What the reader of a live source is told; None for a file stream."""
        if self.policy == "file":
            return None
        from auflow.stages.decode.live.spec import LiveSpec

        return LiveSpec(
            name=self.name,
            url=self.source,
            username=self.username or None,
            password_env=self.password_env or None,
            rtsp_transport=self.transport,
            open_timeout_s=self.open_timeout_s,
            read_timeout_s=self.read_timeout_s,
            stalled_after_s=self.stalled_after_s,
            first_picture_timeout_s=self.first_picture_timeout_s,
            hwaccel=self.hwaccel,
            loop=self.loop,
        )

    @property
    def path(self) -> Path:
        """What a source of kind `replay` or `file` reads."""
        return Path(self.source.removeprefix("file:"))

    @property
    def shown_source(self) -> str:
        """The source as it may be shown and logged."""
        if self.kind in ("file", "replay"):
            return self.source
        live = self.live
        return live.redacted() if live else self.source

    @property
    def settings(self) -> StageSettings:
        """What the stages are asked to do for this stream."""
        return StageSettings(
            model=self.model,
            faces=self.faces,
            tracking=self.tracking,
            detect_every=self.detect_every,
            reuse_below_percent=self.reuse_below_percent,
            identities=self.identities,
            identity_model=self.identity_model,
            wild=self.wild,
            cen_precision=_DEFAULTS.cen_precision if self.cen_precision == "auto" else self.cen_precision,
            clnf_iterations=self.clnf_iterations,
            clnf_tolerance_px=self.clnf_tolerance_px,
            camera=self.camera,
            au_static=self.au_static,
            live=self.policy == "live",
            keep_series=bool(self.csv),  # the offline pass is for the CSV; without one nothing may grow
            precision=self.precision,
            columns=self.columns,
            formats=self.formats,
            hog=self.hog,
            aligned=self.aligned,
        )

    def csv_path(self, began: datetime) -> Path | None:
        """Where a CSV goes that is begun at `began` (aware); None: there is none."""
        return _placed(self.csv, self.name, began)

    def jsonl_path(self, began: datetime) -> Path | None:
        """Where JSON lines go that are begun at `began` (aware); None: nowhere."""
        return _placed(self.jsonl, self.name, began)


@dataclass(frozen=True, slots=True)
class WorkersConfig:
    """How many processes there are; each lane is four."""

    live_lanes: int = key(
        0, whole(0, 256), "lanes for live streams, four processes each",
        shown_as="as `auflow tune` found, else half of the CPUs; no more than live streams, at least 1",
    )  # fmt: skip
    file_lanes: int = key(0, whole(0, 256), "lanes for file streams", shown_as="as `auflow tune` found, else 1")
    detectors: int = key(0, whole(1, 256), "face detection processes, shared by all lanes", shown_as="1 for 4 lanes")
    detectors_at: tuple[str, ...] = key(
        (), addresses, "instead: addresses of `auflow detect` on other hosts, such as `[\"tcp://10.0.0.9:8719\"]`",
        shown_as="none",
    )  # fmt: skip
    keys_dir: str = key("", text, "folder of our keys for them, from `auflow keys`; beyond loopback refused without")
    backend: str = key(
        "auto", backend, "what computes detection, landmarks and AUs: `auto`, one of `auflow doctor`'s backends, or"
        " `\"detect=ort-cuda,clnf=numba\"`; `auto` is what `auflow tune` found best here, else the reference",
    )  # fmt: skip
    streams_per_lane: int = key(8, whole(1, 16), "live streams that a lane takes at most")


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """The socket of `auflow ctl`."""

    socket: str = key("", text, "path of the control socket, up to 107 bytes", shown_as="see below")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Health over HTTP."""

    address: str = key("127.0.0.1:8717", text, '`HOST:PORT` of `/healthz`, `/readyz`, `/status`, `/metrics`; `""`: off')
    allow_remote: bool = key(False, flag, "allow an address that other machines can reach; there is no password")


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The live page."""

    address: str = key("", text, '`HOST:PORT` of the live page, such as `127.0.0.1:8716`; `""`: off')
    allow_remote: bool = key(False, flag, "allow an address that other machines can reach; a token is needed then")
    token_env: str = key(
        "", optional(variable_name), "environment variable (of the service) that holds the token, 16 characters or "
        "more", shown_as="beyond this machine one is made", secret=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BusConfig:
    """Where results are published."""

    address: str = key("tcp://127.0.0.1:8718", text, '`tcp://HOST:PORT` or `ipc://PATH` of the live bus; `""`: off')
    keys_dir: str = key("", text, "folder of `auflow keys`; beyond loopback the bus is refused without")


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """What the processes measure of themselves."""

    metrics: bool = key(
        True, flag, "Prometheus metrics: of all at `/metrics` of `http.address`, of each process at a free port of "
        "this machine",
    )  # fmt: skip
    targets: str = key(
        "", text, "path of the file that tells Prometheus where each process answers (`file_sd`)",
        shown_as="`prometheus/targets.json` in `state_dir`",
    )  # fmt: skip
    trace_every: int = key(
        0, whole(0, 1_000_000_000), "one frame of so many is told to OpenTelemetry, with a span for each stage; 0: none"
    )
    trace_endpoint: str = key(
        "", text, "address of the collector of traces, such as `http://127.0.0.1:4318` (OTLP over HTTP)",
        shown_as="as OpenTelemetry's environment variables say",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What the service allows itself and its workers."""

    drain_s: float = key(10.0, number("seconds", 0.0, 3600.0), "seconds to finish what is under way when it stops")
    start_s: float = key(
        300.0,
        number("seconds", 1.0, 86400.0),
        "seconds that a worker may take to start; kernels may have to be compiled",
    )
    silence_s: float = key(
        30.0, number("seconds", 1.0, 3600.0), "seconds without a heartbeat until a worker counts as hanging"
    )
    restarts: int = key(
        8, whole(0, 100_000), "restarts of a lane within `restart_window_s`; the next one waits until that has passed"
    )
    restart_window_s: float = key(300.0, number("seconds", 1.0, 366 * _DAY_S), "seconds that a restart counts for")
    checkpoint_s: float = key(
        10.0, number("seconds", 0.5, _DAY_S), "seconds between two checkpoints of a live stream's running medians"
    )


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """The keys at the top of the file."""

    state_dir: str = key(
        "", text, "folder of the checkpoints", shown_as="`$STATE_DIRECTORY`, else the user's state folder"
    )
    models_dir: str = key("", text, "folder of the model files", shown_as="as `auflow models path` tells")


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """A whole configuration; all paths are absolute."""

    state_dir: Path
    models_root: Path
    workers: WorkersConfig
    control_socket: Path
    http: HttpConfig
    web: WebConfig
    bus: BusConfig
    telemetry: TelemetryConfig
    limits: LimitsConfig
    streams: tuple[StreamConfig, ...]  # in the order of the file


def _placed(pattern: str, name: str, began: datetime) -> Path | None:
    if not pattern:
        return None
    stamp = began.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    return Path(pattern.replace("{name}", name).replace("{start}", stamp))

"""What fuzzing found: each input that once brought another error than it should, a warning, or gigabytes."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from auflow.errors import InputError, ModelError
from auflow.models.au_heads import FEATURES, AuHead, pack_heads, read_au_list
from auflow.models.ccnf import read_ccnf_patches
from auflow.models.manifest import ModelFile, read_ceclm_files, read_manifest
from auflow.models.mtcnn import FOLDER, LAYOUTS, read_network
from auflow.models.progress import ConsoleProgress
from auflow.models.store import originals
from auflow.models.validator import read_validator
from auflow.models.wheel import NoWheel, unpack
from auflow.stages import MAX_PIXELS
from auflow.stages.decode import open_source
from auflow.stages.decode.boxes import read_boxes
from auflow.tests.fuzz.inputs import make_clips, make_pictures

EYE = "lib/local/LandmarkDetector/model/model_eye/patch_experts/ccnf_patches_1.00_synth_lid_.txt"
CNN = "lib/local/LandmarkDetector/model/detection_validation/validator_cnn.txt"


def mat(values: object, kind: str) -> bytes:
    array = np.atleast_2d(np.asarray(values, f"<{kind}"))
    return struct.pack("<3i", *array.shape, {"i4": 4, "f4": 5, "f8": 6}[kind]) + array.tobytes()


def test_infinities_that_cancel_each_other_are_no_warning(models_dir: Path, tmp_path: Path) -> None:
    """Their sum is NaN, which NumPy warns of."""
    data = bytearray((originals(models_dir) / EYE).read_bytes())
    first = data.index(struct.pack("<3i", 11, 11, 5)) - 24  # the numbers of the first neuron
    data[first : first + 16] = struct.pack("<2d", np.inf, -np.inf)
    (tmp_path / "eye.txt").write_bytes(data)
    with pytest.raises(ModelError, match=r"eye\.txt.*expected finite numbers"):
        read_ccnf_patches(tmp_path / "eye.txt")


def test_doubles_in_a_network_of_floats_are_refused(models_dir: Path, tmp_path: Path) -> None:
    """They became infinite when made floats, after the look for infinities."""
    data = (originals(models_dir) / FOLDER / "PNet.dat").read_bytes()
    header = struct.pack("<3i", 10, 1, 5)
    at = data.index(header)
    slopes = mat(np.full((10, 1), 1e308), "f8")
    (tmp_path / "PNet.dat").write_bytes(data[:at] + slopes + data[at + len(header) + 40 :])
    with pytest.raises(ModelError, match=r"slopes of layer 1.*expected a matrix of float32, got float64"):
        read_network(tmp_path / "PNet.dat", LAYOUTS["PNet"])


def validator_of(layers: bytes, *, pixels: int = 1, side: tuple[int, int] = (1, 1)) -> bytes:
    """A validator of one view, with as many pixels inside its mask."""
    mask = np.zeros(side, np.int32)
    mask.reshape(-1)[:pixels] = 1
    data = struct.pack("<2i", 3, 1) + mat([[0.0]] * 3, "f8") + mat(np.zeros((1, pixels)), "f8")
    data += mat(np.ones((1, pixels)), "f8") + layers + struct.pack("<i2d", pixels, 0, 0)
    data += mat([[0.0]] * 6, "f8") + mat([[0, 1, 2]], "i4") + mat(mask - 1, "i4") + mat(mask, "i4")
    return data + mat(np.ones((1, 3)), "f8") * 2


def convolution(side: int = 1) -> bytes:
    return struct.pack("<3if", 0, 1, 1, 0.0) + mat(np.ones((side, side)), "f4")


def dense(inputs: int = 1, outputs: int = 1) -> bytes:
    return struct.pack("<i", 2) + mat(np.zeros((outputs, 1)), "f4") + mat(np.zeros((inputs, outputs)), "f4")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (validator_of(struct.pack("<i", 2) + convolution() + dense(), pixels=0, side=(0, 4)), "mean: expected 1 to"),
        (validator_of(struct.pack("<i", 2) + convolution() + dense(0, 0)), "biases: expected at least 1, got 0"),
        (validator_of(struct.pack("<2i", 3, 0)[:4] + convolution() + struct.pack("<i", 1) + dense(0)), "to be left"),
        (validator_of(struct.pack("<i", 1) + dense()), "expected a convolution first"),
        (validator_of(struct.pack("<i", 2) + convolution(33) + dense(), side=(40, 40)), "of one size up to 32"),
    ],
    ids=["no pixels", "no outputs", "pooled away", "no convolution", "giant kernel"],
)
def test_networks_of_nothing_are_refused(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "cnn.txt").write_bytes(data)
    with pytest.raises(ModelError, match=says):
        read_validator(tmp_path / "cnn.txt")
    good = validator_of(struct.pack("<i", 2) + convolution() + dense())
    (tmp_path / "cnn.txt").write_bytes(good)
    assert read_validator(tmp_path / "cnn.txt").views[0].warp.pixels == 1


@pytest.mark.parametrize("name", ["/dev/zero", "../secret.dat", "a\0b.dat"])
def test_lists_name_files_below_them(tmp_path: Path, name: str) -> None:
    """/dev/zero was read without end, and a zero byte was a ValueError."""
    (tmp_path / "list.txt").write_text(f"{name} AU01\n")
    with pytest.raises(ModelError, match=r"list\.txt: line 1: expected a file below the menu's folder"):
        read_au_list(tmp_path / "list.txt")


def test_heads_whose_product_overflows_are_refused(tmp_path: Path) -> None:
    large = np.full(FEATURES, 1e300)
    head = AuHead("AU01", "intensity", False, None, large, large, 0.0, 0.0, 0.0)
    with pytest.raises(ModelError, match=r"list\.txt: intensity head of AU01: expected .* finite"):
        pack_heads(tmp_path / "list.txt", [head], "intensity")


ROW = f"lib/a.dat,3,{'0' * 64},model"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected each file once, and at least one"),
        (f"path,size,sha256,role\n{ROW}\n", "no 'bytes' in it"),
        (f"path,bytes,sha256,role\n{ROW}\n{ROW}\n", "each file once"),
        (f"path,bytes,sha256,role\n{ROW[:-6]}\n", "roles model and licence"),
        (f"path,bytes,sha256,role\n{ROW.replace('3,', '-3,')}\n", "expected a size in bytes"),
        (f"path,bytes,sha256,role\n{ROW.replace('00', 'x', 1)}\n", "expected a SHA-256"),
        (f"path,bytes,sha256,role\n../{ROW}\n", "a path below the store"),
        (f"path,bytes,sha256,role\n/{ROW}\n", "a path below the store"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ModelError, match=rf"manifest\.csv: .*{says}.*; install auflow again"):
        read_manifest(tmp_path / "manifest.csv")


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        "[]",
        '{"files": {}}',
        json.dumps({"files": [{"path": "a", "size": 1.5, "sha256": "0" * 64, "urls": []}]}),
        json.dumps({"files": [{"path": "a", "size": 1, "sha256": "0" * 64, "urls": ["file:///etc/passwd"]}]}),
        json.dumps({"files": [{"path": 7, "size": 1, "sha256": "0" * 64, "urls": []}]}),
    ],
    ids=["nested", "list", "object", "half a byte", "not https", "path"],
)
def test_a_damaged_list_of_ceclm_is_named(tmp_path: Path, value: str) -> None:
    (tmp_path / "ceclm.json").write_text(value)
    with pytest.raises(ModelError, match=r"ceclm\.json: .*; install auflow again"):
        read_ceclm_files(tmp_path / "ceclm.json")


def encrypted(data: bytearray) -> None:
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1


def before_the_start(data: bytearray) -> None:
    struct.pack_into("<I", data, data.index(b"PK\5\6") + 16, 1 << 31)


def bzip2(data: bytearray) -> None:
    for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        struct.pack_into("<H", data, data.index(signature) + offset, 12)


def unknown_version(data: bytearray) -> None:
    struct.pack_into("<H", data, data.index(b"PK\1\2") + 6, 99)


@pytest.mark.parametrize("damage", [encrypted, before_the_start, bzip2, unknown_version])
def test_odd_archives_are_no_wheel(tmp_path: Path, damage: Callable[[bytearray], None]) -> None:
    wanted = ModelFile("lib/one.dat", 3, hashlib.sha256(b"one").hexdigest())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("one.dat", b"one")
    data = bytearray(buffer.getvalue())
    damage(data)
    (tmp_path / "x.whl").write_bytes(data)
    with pytest.raises(NoWheel, match=r"x\.whl: expected a whole wheel"):
        unpack(tmp_path / "store", tmp_path / "x.whl", [wanted], ConsoleProgress(io.StringIO()))


def test_a_bomb_in_a_wheel_takes_no_more_than_it_says(tmp_path: Path) -> None:
    """A member of three bytes whose packed stream gives 200 MB."""
    import tracemalloc

    with zipfile.ZipFile(tmp_path / "x.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(200_000_000))
    data = (tmp_path / "x.whl").read_bytes()
    (tmp_path / "x.whl").write_bytes(data.replace(struct.pack("<I", 200_000_000), struct.pack("<I", 3)))
    wanted = ModelFile("lib/one.dat", 3, hashlib.sha256(b"one").hexdigest())
    tracemalloc.start()
    try:
        with pytest.raises(NoWheel, match="CRC"):
            unpack(tmp_path / "store", tmp_path / "x.whl", [wanted], ConsoleProgress(io.StringIO()))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def lying_jpeg(path: Path) -> None:
    data = bytearray(make_pictures(path.parent / "good")[4].read_bytes())
    struct.pack_into(">2H", data, data.index(b"\xff\xc0") + 5, 30000, 30000)
    path.write_bytes(data)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc for the peak of memory")
def test_a_picture_that_lies_about_its_size_takes_no_memory(tmp_path: Path) -> None:
    """900 bytes made OpenCV fill 5 GB, and a side beyond its own bound was a cv2.error."""
    lying_jpeg(tmp_path / "lie.jpg")
    code = (
        "import sys; from pathlib import Path; from auflow.errors import InputError\n"
        "from auflow.stages.decode import open_source\n"
        "try: open_source(sys.argv[1])\nexcept InputError as error: print(error)\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))"
    )
    # A process of its own, since OpenCV reads its bound when it is loaded. Not getrusage: that remembers who forked it.
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lie.jpg")], capture_output=True, text=True, check=True, timeout=60
    )
    error, peak_kb = said.stdout.splitlines()
    assert f"this file is no image that can be decoded (of up to {MAX_PIXELS:,} pixels)" in error
    assert int(peak_kb) < 600_000


def test_a_side_beyond_opencv_s_bound_is_a_damaged_picture(tmp_path: Path) -> None:
    good = make_pictures(tmp_path / "good")[0]
    data = bytearray(good.read_bytes())
    data[16:20] = struct.pack(">I", 1 << 21)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "1.png").write_bytes(good.read_bytes())
    (tmp_path / "2.png").write_bytes(data)
    with open_source(tmp_path) as source:
        out = np.empty((source.info.height_px, source.info.width_px, 3), np.uint8)
        assert source.read_into(out) == (1, 0.0)
        assert source.read_into(out) is None
        assert source.corrupt_frames == 1


def with_title(path: Path) -> None:
    """A clip whose title is no UTF-8."""
    made = make_clips(path.parent / "good")[0]
    with av.open(str(made)) as source, av.open(str(path), "w") as target:
        target.metadata["title"] = "TITLE!"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"TITLE!", b"T\xfcTLE\xff"))


def test_names_in_another_alphabet_do_not_hinder_a_clip(tmp_path: Path) -> None:
    with_title(tmp_path / "a.mp4")
    assert b"T\xfcTLE\xff" in (tmp_path / "a.mp4").read_bytes()
    with open_source(tmp_path / "a.mp4") as source:
        assert (source.info.width_px, source.info.height_px) == (48, 32)


def test_a_negative_duration_is_no_number_of_pictures(tmp_path: Path) -> None:
    made = next(path for path in make_clips(tmp_path / "good") if path.suffix == ".wmv")
    data = bytearray(made.read_bytes())
    properties = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))  # ASF's file properties
    struct.pack_into("<Q", data, properties + 80, 5000)  # the preroll, which is taken off the duration
    (tmp_path / "a.wmv").write_bytes(data)
    with av.open(str(tmp_path / "a.wmv")) as container:
        assert (container.streams.video[0].duration or 0) < 0
    with open_source(tmp_path / "a.wmv") as source:
        assert source.info.frame_count is None


def test_clips_of_giant_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lying_jpeg(tmp_path / "a.mjpeg")  # the size comes with the picture
    with pytest.raises(InputError, match=r"not one picture of it could be decoded \([1-9][0-9]* damaged pieces\)"):
        open_source(tmp_path / "a.mjpeg")
    monkeypatch.setattr("auflow.stages.decode.video.MAX_PIXELS", 1000)
    with pytest.raises(InputError, match=r"pictures of 48x32, expected up to 1,000 pixels"):
        open_source(make_clips(tmp_path / "good")[0])  # the size stands in the header


@pytest.mark.parametrize("text", ["0 0 1e300 1e300", "1e6 0 1000000.001 10", "-2e6 0 1 1"])
def test_boxes_beyond_float32_are_refused(tmp_path: Path, text: str) -> None:
    """They became infinite, or without a width."""
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=r"a\.txt: expected lines of four numbers in pixels"):
        read_boxes(tmp_path, Path("a.jpg"))

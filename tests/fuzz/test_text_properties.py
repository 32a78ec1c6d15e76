"""Any bytes at all in the place of the text files: refused by name, or something that makes sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auflow.errors import InputError, ModelError
from auflow.models.au_heads import read_au_list
from auflow.models.ceclm import read_early_termination
from auflow.models.manifest import read_ceclm_files, read_manifest
from auflow.models.menu import read_menu
from auflow.models.pdm import read_pdm, read_triangulation
from auflow.stages.decode.boxes import read_boxes
from auflow.tests.fuzz.targets import arrays_of

# What the readers know, and what looks almost like it.
KNOWN = """
0 1 2 3 4 5 6 9 68 -1 1e308 -1e308 1e999 nan inf 0x10 1_0 2147483648 1048576 1048577 #
PDM pdm.txt . .. / \0 x path bytes sha256 role model , { } [ ] : " files
"""
WORDS = st.sampled_from(KNOWN.split())
TEXTS = st.lists(st.one_of(WORDS, st.floats().map(repr), st.integers().map(str), st.text(max_size=5)), max_size=40)
JOINED = st.tuples(TEXTS, st.sampled_from([" ", "\n", ",", "\r\n", "\x0c"])).map(lambda pair: pair[1].join(pair[0]))
CONTENTS = st.one_of(st.binary(max_size=200), JOINED.map(lambda text: text.encode("utf-8", "replace")))
READERS: dict[str, Callable[[Path], object]] = {
    "pdm": read_pdm,
    "triangulation": read_triangulation,
    "early termination": read_early_termination,
    "menu": lambda path: read_menu(path, once=("PDM",), many=("PatchesCCNF",)),
    "au list": read_au_list,
    "manifest": read_manifest,
    "ceclm": read_ceclm_files,
}


def outcome(read: Callable[[], Any], error: type[Exception]) -> tuple[Any, str | None]:
    """What `read` gives, or the message of the one error that it may raise."""
    try:
        return read(), None
    except error as refused:
        return None, str(refused)


quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", READERS)
@quick
@given(content=CONTENTS)
def test_any_bytes_are_refused_by_name_or_finite(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    value, message = outcome(lambda: READERS[name](path), ModelError)
    assert message is None or (str(path.parent) in message and "auflow" in message)  # which file, and what to do
    assert all(array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays_of(value))


@quick
@given(content=st.one_of(st.binary(max_size=100), st.lists(st.floats(), max_size=9).map(lambda n: repr(n).encode())))
def test_any_bytes_are_no_boxes_or_finite_ones(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content.replace(b",", b" ").strip(b"[]"))
    boxes, message = outcome(lambda: read_boxes(tmp_path, Path("a.jpg")), InputError)
    assert message is None or "a.txt" in message
    assert boxes is None or (np.isfinite(boxes).all() and (boxes[:, 2:4] > 0).all())


@quick
@given(
    mean=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=9).filter(lambda numbers: len(numbers) % 3 == 0),
    modes=st.integers(1, 3),
    spread=st.floats(1e-6, 1e6),
)
def test_a_pdm_reads_back_to_the_last_bit(tmp_path: Path, mean: list[float], modes: int, spread: float) -> None:
    rows = len(mean)
    components = [[value / (mode + 1) for mode in range(modes)] for value in mean]
    blocks = ((rows, 1, [[value] for value in mean]), (rows, modes, components), (1, modes, [[spread] * modes]))
    text = "".join(
        f"# x\n{r}\n{c}\n6\n" + "\n".join(" ".join(map(repr, row)) for row in v) + "\n" for r, c, v in blocks
    )
    (tmp_path / "pdm.txt").write_text(text)
    pdm = read_pdm(tmp_path / "pdm.txt")
    assert pdm.mean_shape.tolist() == mean
    assert pdm.principal_components.tolist() == components
    assert pdm.eigenvalues.tolist() == [spread] * modes

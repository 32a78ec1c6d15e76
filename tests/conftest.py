"""Where the tests find model files, reference figures and clips; what is missing is skipped with a reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("AUFLOW_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session", autouse=True)
def no_profile(monkeypatch_session: pytest.MonkeyPatch) -> None:
    """What `auflow tune` has found for whoever runs the tests is not for them, nor for the processes they start."""
    monkeypatch_session.setenv("AUFLOW_PROFILE", "none")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden traces and real clips beside the checkout."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("no golden traces beside this checkout (../shared/golden)")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """`../shared/golden`."""
    return shared / "golden"


@pytest.fixture(scope="session")
def media(shared: Path) -> Path:
    """`../shared/media`."""
    return shared / "media"


@pytest.fixture(scope="session")
def demo_dir() -> Path:
    """The committed demo clip and its reference figures."""
    return ROOT / "demo"


@pytest.fixture(scope="session")
def models_dir(monkeypatch_session: pytest.MonkeyPatch) -> Path:
    """A complete model store: $OPENFACE_MODELS_DIR, the one beside the checkout, or the user's own."""
    from auflow.models.store import default_root, missing_files

    if "OPENFACE_MODELS_DIR" not in os.environ and (SHARED / "openface_models").is_dir():
        monkeypatch_session.setenv("OPENFACE_MODELS_DIR", str(SHARED / "openface_models"))
    root = default_root()
    if missing_files(root):
        pytest.skip("no OpenFace model files: run `auflow models fetch --accept-license`")
    return root


@pytest.fixture(scope="session")
def ceclm_dir(models_dir: Path) -> Path:
    """A model store that also has the small files of CE-CLM (menus, validator); the large ones are made by tests."""
    from auflow.models.store import originals

    menu = originals(models_dir) / "lib" / "local" / "LandmarkDetector" / "model" / "main_ceclm_general.txt"
    if not menu.is_file():
        pytest.skip("no CE-CLM menus in the model store: they come with `auflow models fetch --with-ceclm`")
    return models_dir


@pytest.fixture(autouse=True)
def kernel_cache_stays() -> Iterator[None]:
    """The command line, run in this process, places the kernel cache: that is not for the tests after it."""
    before = os.environ.get("NUMBA_CACHE_DIR")
    yield
    os.environ.pop("NUMBA_CACHE_DIR", None)
    if before is not None:
        os.environ["NUMBA_CACHE_DIR"] = before


@pytest.fixture(scope="session")
def monkeypatch_session():
    """A monkeypatch that lasts for the whole session."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch

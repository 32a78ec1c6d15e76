"""Compiles every kernel of the stages, two processes side by side where there are two CPUs.

What takes long is the fit; the helper, `python -m auflow.flow.compilation ROOT MODEL`, compiles the rest meanwhile. Two
processes must not fill one folder, so the helper has its own, whose files are taken over when it is done. Then all
stages run once: that loads what there is, and compiles what is still missing, whatever became of the helper.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from auflow.flow import worker
from auflow.stages.settings import Model

__all__ = ["compile_kernels", "take_over"]


def compile_kernels(models_root: Path, model: Model, folder: Path) -> None:
    """Call every kernel for the landmark model with the types of production; Numba keeps them in `folder`."""
    from auflow.stages import au, clnf

    with _helper(models_root, model, folder / "apart"):
        clnf.warm_up_fit(models_root, model)
    take_over(folder / "apart", folder)
    clnf.warm_up(models_root, model)
    au.warm_up(models_root)


@contextmanager
def _helper(models_root: Path, model: Model, folder: Path) -> Iterator[None]:
    """The helper is at work meanwhile; it is done at the end, unless something went wrong here."""
    if _cpus() < 2:
        yield
        return
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-P", "-m", "auflow.flow.compilation", str(models_root), model]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, env=environment) as process:
        try:
            yield
        except BaseException:
            process.kill()
            raise


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_over(apart: Path, folder: Path) -> None:
    """Move the compiled functions from one cache folder to another, but for those that it has; remove the first."""
    for index in apart.glob("*/*.nbi"):
        target = folder / index.parent.name
        target.mkdir(exist_ok=True)
        if not (target / index.name).exists():
            for path in (*index.parent.glob(f"{index.stem}.*.nbc"), index):
                path.replace(target / path.name)
    shutil.rmtree(apart, ignore_errors=True)


def main() -> None:
    """Be the helper."""
    worker.prepare_process(dies_with_parent=True, name="compiler auflow")
    models_root, model = Path(sys.argv[1]), next(known for known in get_args(Model) if known == sys.argv[2])
    from auflow.stages import au, clnf

    clnf.warm_up_rest(models_root, model)
    au.warm_up_own()


if __name__ == "__main__":
    main()
    worker.leave(0)

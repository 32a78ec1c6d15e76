"""A run with fake stages as a process of its own, for tests that send it signals.

OUTPUT_DIR MODELS JOBS RESUME CHECKPOINT_S INPUT...
"""

import sys
from pathlib import Path

from fake_kit import SETTINGS

from auflow.cli import main  # noqa: F401 - the real command line loads it too, so that the imports are the same
from auflow.errors import AuflowError
from auflow.options import RunOptions
from auflow.orchestrator import run
from auflow.report import PlainReporter, exit_code
from auflow.run_command import _without_finished

if __name__ == "__main__":
    output, models, jobs, resume, checkpoint_s, *inputs = sys.argv[1:]
    options = RunOptions(
        tuple(map(Path, inputs)),
        Path(output),
        Path(models),
        settings=SETTINGS,
        jobs=int(jobs),
        resume=bool(int(resume)),
        checkpoint_s=float(checkpoint_s),
    )
    reporter = PlainReporter(sys.stderr)
    if options.resume:
        options = _without_finished(options, reporter)
    try:
        sys.exit(exit_code(run(options, reporter, kit="fake_kit")))
    except AuflowError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)

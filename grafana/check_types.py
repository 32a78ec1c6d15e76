"""Checks the dashboards against Grafana's own types: `make dashboards-check`.

Each dashboard becomes a constant of the type `Dashboard` in TypeScript, each panel's options and field settings one of
the type that its plugin has for them, and `tsc --strict` has the last word. Needs `npm` and a network: TypeScript and
`@grafana/schema` are installed into a temporary folder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from auflow.errors import AuflowError, UsageError
from auflow.grafana import GRAFANA

__all__ = ["main", "typescript"]

DASHBOARDS = Path(__file__).resolve().parent / "dashboards"
_PACKAGES = (f"@grafana/schema@{GRAFANA}", "typescript@5.9")
_PLUGINS = {  # the folder of its types, their file, and whether it has field settings of its own
    "stat": ("StatPanelCfg", False),
    "timeseries": ("TimeSeriesPanelCfg", True),
    "heatmap": ("HeatmapPanelCfg", True),
    "state-timeline": ("StateTimelinePanelCfg", True),
    "status-history": ("StatusHistoryPanelCfg", True),
    "bargauge": ("BarGaugePanelCfg", False),
    "table": ("TablePanelCfg", True),
}
_COMPILER = {
    "strict": True, "noEmit": True, "target": "es2022", "module": "esnext", "moduleResolution": "bundler", "types": [],
}  # fmt: skip
# JSON has an enumeration's values, where TypeScript wants its names.
_PLAIN = """\
type Plain<T> = T extends string ? `${T}` : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
  : T extends boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""


def typescript(boards: Mapping[str, Mapping[str, Any]]) -> str:
    """A module in TypeScript that is right when all dashboards are; `boards` by the names of their files."""
    head = ["import type { Dashboard, DataQuery } from '@grafana/schema';"]
    for kind, (types, custom) in _PLUGINS.items():
        name, folder = _name(kind), kind.replace("-", "")
        where = f"@grafana/schema/dist/esm/raw/composable/{folder}/panelcfg/x/{types}_types.gen.d.ts"
        fields = f", FieldConfig as {name}Field" if custom else ""
        head.append(f"import type {{ Options as {name}Options{fields} }} from '{where}';")
    body = [line for file, board in boards.items() for line in _constants(file.removesuffix(".json"), board)]
    return "\n".join([*head, _PLAIN, *body, "export {};"]) + "\n"


def _constants(name: str, board: Mapping[str, Any]) -> Iterator[str]:
    yield _constant(name, "Dashboard", board)
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        if panel["type"] not in _PLUGINS:
            raise UsageError(f"{name}: no types are known for panels of kind {panel['type']}: add it to _PLUGINS")
        kind, where = _name(panel["type"]), f"{name}_{panel['id']}"
        yield _constant(f"{where}_options", f"{kind}Options", panel["options"])
        custom = panel["fieldConfig"]["defaults"].get("custom")
        if custom is not None and _PLUGINS[panel["type"]][1]:
            yield _constant(f"{where}_field", f"{kind}Field", custom)
        for target in panel["targets"]:
            # What belongs to Prometheus alone is not in these types.
            common = {key: target[key] for key in ("refId", "hide", "datasource", "queryType") if key in target}
            yield _constant(f"{where}_{target['refId']}", "DataQuery", common)


def _constant(name: str, type_: str, value: object) -> str:
    return f"export const {name}: Plain<{type_}> = {json.dumps(value, indent=1)};"


def _name(kind: str) -> str:
    return "".join(part.capitalize() for part in kind.split("-"))


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise UsageError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")


def main() -> int:
    """Install, write, compile; the exit code."""
    boards = {path.name: json.loads(path.read_text("utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}
    try:
        if shutil.which("npm") is None:
            raise UsageError("there is no `npm`; install Node.js (Debian: apt-get install npm)")
        with tempfile.TemporaryDirectory(prefix="auflow-dashboards-") as name:
            folder = Path(name)
            (folder / "package.json").write_text('{"private": true}\n')
            (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": _COMPILER, "files": ["boards.ts"]}))
            (folder / "boards.ts").write_text(typescript(boards), "utf-8")
            _run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *_PACKAGES], folder)
            _run(["npx", "--no-install", "tsc", "--project", "."], folder)
    except AuflowError as error:
        sys.stderr.write(f"check_types: {error}\n")
        return error.exit_code
    panels = sum(len(board["panels"]) for board in boards.values())
    sys.stdout.write(f"{len(boards)} dashboards, {panels} panels and rows: as @grafana/schema {GRAFANA} has them\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

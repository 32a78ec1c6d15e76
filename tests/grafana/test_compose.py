"""The compose file: nothing is open to other machines, no model file is in an image, all that is mounted is there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from auflow.serve.loading import load_config
from auflow.tests.grafana.known import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROVISIONING = ROOT / "grafana" / "provisioning"


def mounts() -> list[tuple[str, str, str]]:
    """Service, source and target of all that is mounted."""
    found = []
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.replace("${OPENFACE_MODELS_DIR:?", "MODELS?").replace("}:", ":").split(":/")
            found.append((name, source, f"/{target.removesuffix(':ro')}"))
    return found


def test_doors_are_on_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert sorted(ports) == ["127.0.0.1:3000:3000", "127.0.0.1:9090:9090"]
    others = [service for name, service in SERVICES.items() if name != "network"]
    assert all(service["network_mode"] == "service:network" for service in others)


def test_the_service_opens_no_door_and_its_configuration_is_right(models_dir: Path) -> None:
    config = load_config(DEPLOY / "compose-serve.toml")
    assert not config.http.allow_remote
    assert config.http.address == "127.0.0.1:8717"
    assert [stream.name for stream in config.streams] == ["demo"]


def test_what_is_mounted_is_there_and_read_only_but_for_data() -> None:
    for name, source, _ in mounts():
        if source in COMPOSE["volumes"]:
            continue
        assert source.startswith("MODELS?") or (DEPLOY / source).exists(), f"{name}: {source}"
    files = [volume for service in SERVICES.values() for volume in service.get("volumes", ()) if volume[0] in ".$"]
    assert files
    assert all(volume.endswith(":ro") for volume in files)


def test_the_model_files_are_the_users() -> None:
    assert ("auflow", "/models") in [(name, target) for name, source, target in mounts() if source[:6] == "MODELS"]
    instructions = [line for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines() if line[:1] != "#"]
    assert not [line for line in instructions if "models fetch" in line or "accept-license" in line]


def test_everybody_is_asked_how_it_is() -> None:
    assert all("healthcheck" in service for service in SERVICES.values())


def test_grafana_may_be_looked_at_and_not_changed() -> None:
    settings = SERVICES["grafana"]["environment"]
    assert settings["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert settings["GF_AUTH_BASIC_ENABLED"] == "false"


def test_what_is_provisioned_is_where_it_is_looked_for() -> None:
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "auflow.yml").read_text("utf-8"))["providers"][0]
    assert ("../grafana/dashboards", provider["options"]["path"]) in [
        (source, target) for _, source, target in mounts()
    ]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "grafana" / "dashboards" / Path(home).name).is_file()
    source = yaml.safe_load((PROVISIONING / "datasources" / "auflow.yml").read_text("utf-8"))["datasources"][0]
    listening = next(word for word in SERVICES["prometheus"]["command"] if "listen-address" in word)
    assert source["url"].rpartition(":")[2] == listening.rpartition(":")[2]
    pace = yaml.safe_load((ROOT / "grafana" / "prometheus" / "prometheus.yml").read_text("utf-8"))["global"]
    assert source["jsonData"]["timeInterval"] == pace["scrape_interval"]


@pytest.mark.parametrize("models", ["/models", ""])
def test_compose_accepts_the_file_and_asks_for_the_models(models: str) -> None:
    command = next((word for word in (["docker", "compose"], ["docker-compose"]) if _works(word)), None)
    if command is None:
        pytest.skip("no docker compose and no docker-compose")
    environment = {**os.environ, "OPENFACE_MODELS_DIR": models}
    file = DEPLOY / "compose.yaml"
    done = subprocess.run(
        [*command, "-f", file, "config", "-q"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == bool(models), done.stderr
    assert models or "set it to the folder of the model files" in done.stderr


def _works(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0

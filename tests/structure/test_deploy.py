"""Names in `deploy/` exist. The tests can't build its image."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from spool.cli import parser

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service["image"] == "spool"
}
# Variables that Python and the shell read.
OTHERS = {"PATH", "PYTHONUNBUFFERED"}


def instructions(name: str) -> list[str]:
    """The texts after an instruction's name, with continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def image_variables() -> dict[str, str]:
    return dict(
        word.split("=", 1)
        for words in instructions("ENV")
        for word in shlex.split(words)
    )


def test_every_variable_is_a_setting() -> None:
    code = (ROOT / "config" / "settings.py").read_text()
    given = {*image_variables()} - OTHERS
    given |= {name for service in OURS.values() for name in service["environment"]}

    assert [name for name in sorted(given) if f'"{name}"' not in code] == []


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_is_one_of_spools(name: str) -> None:
    service = OURS[name]
    check = service.get("healthcheck", {}).get(
        "test", ["CMD", "spool", "health", "web"]
    )

    assert instructions("ENTRYPOINT") == ['["spool"]']
    assert parser().parse_args(service["command"]).command == name
    assert check[:2] == ["CMD", "spool"]
    assert parser().parse_args(check[2:]).program in OURS


def test_the_ports_are_the_servers() -> None:
    port = str(settings.PORT)
    published = OURS["web"]["ports"][0].rsplit(":", 1)[-1]

    assert image_variables()["PORT"] == port
    assert instructions("EXPOSE") == [port]
    assert published == port


def test_the_paths_are_there() -> None:
    (folder,) = instructions("WORKDIR")[1:]
    variables = image_variables()
    mounted = {volume.split(":")[1] for volume in OURS["web"]["volumes"]}
    build = OURS["web"]["build"]

    assert variables["LANGGRAPH_CONFIG"] == f"{folder}/langgraph.json"
    assert mounted == {folder}
    assert f"--home-dir {variables['SPOOL_HOME']} " in DOCKERFILE
    assert "requirements.txt" in DOCKERFILE
    assert (ROOT / "requirements.txt").is_file()
    assert (ROOT / "deploy" / build["context"] / build["dockerfile"]).is_file()


def test_all_wait_for_prepare_and_share_a_key() -> None:
    waiting = {name: service["depends_on"] for name, service in OURS.items()}
    prepare = waiting.pop("prepare")

    assert set(waiting) == {"web", "worker", "beat"}
    for depends_on in waiting.values():
        done = {"condition": "service_completed_successfully"}
        assert depends_on == {"prepare": done}
    assert set(prepare) == set(COMPOSE["services"]) - set(OURS)
    keys = {service["environment"]["DJANGO_SECRET_KEY"] for service in OURS.values()}
    assert len(keys) == 1


def test_the_image_does_not_run_as_root() -> None:
    assert instructions("USER") == ["10001"]
    assert "useradd --uid 10001 " in DOCKERFILE

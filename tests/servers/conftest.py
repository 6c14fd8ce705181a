"""Real programs between us and the model: LiteLLM's proxy, and transformers' server with a model made here.

`COPILOT_PULSE_LITELLM_PYTHON` and `COPILOT_PULSE_LOCAL_MODEL_PYTHON` name the Pythons that have them; `.ci/run servers`
sets both. A server is a process on a free port of loopback, and ends with the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.net import closed_port

START = 300.0  # seconds that a server may take on a slow machine


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """The start of a server counts as a part of the first test that needs it, so give these tests time."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(3 * START))


def python_of(name: str) -> str:
    """The Python with this server; without it these tests cannot say anything, so they fail."""
    found = os.environ.get(name)
    if not found:
        pytest.fail(f"{name} is not set: run .ci/run servers", pytrace=False)
    return found


@contextmanager
def server(command: list[str], url: str, folder: Path, **environment: str) -> Iterator[None]:
    """A running server that answers at `url`; its output is shown if it does not."""
    log = folder / "server.log"
    # Nothing of the developer's environment, and no network.
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env={**keep, **environment}
        )
    try:
        end = time.monotonic() + START
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"no answer at {url}:\n{log.read_text('utf-8', 'replace')[-4000:]}", pytrace=False)
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def litellm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteLlm]:
    """LiteLLM's proxy in front of a port at which each test starts its model server."""
    folder = tmp_path_factory.mktemp("litellm")
    upstream, port = closed_port(), closed_port()

    def model(name: str, base: int, **more: object) -> dict[str, object]:
        params = {"model": "openai/fake-model", "api_base": f"http://127.0.0.1:{base}/v1", "api_key": UPSTREAM_KEY}
        return {"model_name": name, "litellm_params": {**params, **more}}

    config = {
        "model_list": [
            model("fake-model", upstream),
            model("limited", upstream, rpm=1),
            model("unreachable", closed_port()),
        ],
        "router_settings": {"num_retries": 0, "routing_strategy": "usage-based-routing-v2", "disable_cooldowns": True},
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "general_settings": {"master_key": PROXY_KEY},
    }
    (folder / "config.yaml").write_text(json.dumps(config), "utf-8")  # JSON is YAML
    python = Path(python_of("COPILOT_PULSE_LITELLM_PYTHON"))
    command = [str(python), str(python.with_name("litellm")), "--config", "config.yaml", "--host", "127.0.0.1"]
    with server(
        [*command, "--port", str(port)],
        f"http://127.0.0.1:{port}/health/liveliness",
        folder,
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        NO_PROXY="*",
    ):
        yield LiteLlm(f"http://127.0.0.1:{port}/v1", upstream)


class LiteLlm:
    """Where the proxy listens, and the port at which it expects the model."""

    def __init__(self, base_url: str, upstream: int) -> None:
        self.base_url, self.upstream = base_url, upstream


PROXY_KEY = "sk-proxy-0123456789abcdef"
UPSTREAM_KEY = "sk-upstream-0123456789abcdef"


@pytest.fixture(scope="module")
def local_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalModel]:
    """transformers' server with a two-layer model whose weights are random."""
    folder = tmp_path_factory.mktemp("local-model")
    python = python_of("COPILOT_PULSE_LOCAL_MODEL_PYTHON")
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "NO_PROXY": "*"}
    made = subprocess.run(
        [python, str(Path(__file__).with_name("tiny_model.py")), str(folder / "tiny")],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **offline},
        check=False,
    )
    assert made.returncode == 0, made.stderr[-4000:]
    port = closed_port()
    command = [python, str(Path(python).with_name("transformers")), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with server(command, f"http://127.0.0.1:{port}/v1/models", folder, **offline):
        yield LocalModel(f"http://127.0.0.1:{port}/v1", str(folder / "tiny"))


class LocalModel:
    """Where the server listens, and the name of its model: a path."""

    def __init__(self, base_url: str, name: str) -> None:
        self.base_url, self.name = base_url, name


assert sys.platform != "win32", "these servers are tried on Linux and macOS"

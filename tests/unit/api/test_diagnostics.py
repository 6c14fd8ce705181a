"""The bug report: what is told in public."""

from __future__ import annotations

import json

from tests.support.api_client import SECRET, Client, Happened


async def test_diagnostics_hold_no_secret_and_no_ids(client: Client) -> None:
    """What is pasted into a public bug report names no conversation and holds no key."""

    failure = Happened(
        "error", severity="high", kind="auth", type="E", outcome="gave_up", chat_id="7-abc", error_id="e-1",
        message=f"refused key {SECRET}", attempt=1, where="model",
    )  # fmt: skip
    client.parts.monitor.on_event(failure)
    chat = {"chat_id": "7-abc", "session_id": "s-9", "state": "done"}
    client.parts.monitor.add_source("chats", lambda: [chat])
    client.parts.monitor.add_source("seams", lambda: [{"name": "chat", "attached": True, "detail": ""}])
    client.parts.settings.update({"queue_size": 77})
    _, _, body = await client.get("/copilot-pulse/diagnostics")
    report = json.loads(body)

    for secret in (SECRET, "7-abc", "s-9", "e-1"):
        assert secret not in body
    assert report["settings"] == {"queue_size": 77}
    assert {"python", "system", "aiohttp", "prometheus-client"} <= set(report["versions"])
    assert report["seams"][0]["name"] == "chat"
    assert report["errors"]["recent"][0]["kind"] == "auth"
    assert report["health"]["checks"]

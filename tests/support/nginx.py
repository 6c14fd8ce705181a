"""Debian's nginx in front of a server of a test, on a free port of loopback, with the lines of a real configuration.

with Nginx(port, lines=PORT_DROPPED) as proxy:
    ...  # proxy.port, proxy.url
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from .net import PATIENCE, closed_port

# The name by which nginx knows the server, as RunPod's proxy does: an address of a network that no browser is in.
INNER: Final = "198.51.100.7"
NGINX: Final = shutil.which("nginx") or "/usr/sbin/nginx"

_UPGRADE: Final = """
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_read_timeout 60s;
"""
# What stands in people's configurations, by what becomes of the name that the browser has asked for.
HOST_KEPT: Final = "proxy_set_header Host $http_host;"
PORT_DROPPED: Final = "proxy_set_header Host $host;"
HOST_OF_UPSTREAM: Final = ""
"""nginx' own default: the name in `proxy_pass`, as RunPod's proxy and a container's name in compose."""
HOST_FORWARDED: Final = "proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;"
CONFIGURATIONS: Final = {
    "host kept": HOST_KEPT,
    "port dropped": PORT_DROPPED,
    "host of the upstream": HOST_OF_UPSTREAM,
    "host forwarded": HOST_FORWARDED,
}

_CONFIGURATION: Final = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    upstream {inner} {{ {same} {servers} }}
    upstream any {{ {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location {path} {{
            proxy_pass http://{inner}/;
            {upgrade}
            {lines}
        }}
        {spread}
    }}
}}
"""
# Of several servers any gets a chat or the reading of one, in turn; all else of a page goes to one and the same.
_SPREAD: Final = """
        location ~ ^/(api/)?(chat|ws/chat|copilot-pulse/streams)/ {{
            proxy_pass http://any;
            {upgrade}
            {lines}
        }}
"""


class Nginx:
    """A running nginx. `lines` go into its `location`; `path` is the folder that it serves the upstream under.

    Several upstreams get chats in turn (round robin).
    """

    def __init__(self, *upstreams: int, lines: str = HOST_KEPT, path: str = "/") -> None:
        self.port = closed_port()
        self.url = f"http://127.0.0.1:{self.port}{path.rstrip('/')}"
        self._folder = tempfile.TemporaryDirectory(prefix="nginx-")
        folder = self._folder.name
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=folder,
                port=self.port,
                path=path,
                upgrade=_UPGRADE,
                lines=lines,
                inner=INNER,
                servers=" ".join(f"server 127.0.0.1:{port};" for port in upstreams),
                same="ip_hash;" if len(upstreams) > 1 else "",
                spread=_SPREAD.format(upgrade=_UPGRADE, lines=lines) if len(upstreams) > 1 else "",
            ),
            "utf-8",
        )
        self._process = subprocess.Popen(
            [NGINX, "-p", folder, "-c", str(configuration), "-e", f"{folder}/error.log"], stderr=subprocess.DEVNULL
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (Path(self._folder.name) / "error.log").read_text("utf-8", "replace")
                    self.close()
                    raise RuntimeError(f"nginx does not run: {log}") from None
                time.sleep(0.02)

    def close(self) -> None:
        """Stop it and wait for it. Idempotent."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._folder.cleanup()

    def __enter__(self) -> Nginx:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

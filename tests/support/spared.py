"""Spares a process of tests what costs the most time and is not theirs."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path


def spare() -> None:
    """Keep bytecode, and give TLS one certificate to read, in a folder that goes when the process ends.

    The plugin and the stand-in are imported some 500 times: their bytecode is kept, whatever the developer's
    environment says of it. A chat makes five TLS contexts of 140 certificates.
    """
    folder = tempfile.mkdtemp(prefix="copilot-pulse-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["XDG_STATE_HOME"] = f"{folder}/state"  # a program that a test starts keeps its events there
    sys.pycache_prefix, sys.dont_write_bytecode = f"{folder}/bytecode", False
    try:
        import certifi
    except ImportError:
        return
    end = "-----END CERTIFICATE-----\n"
    one = Path(folder) / "one.pem"
    one.write_text(certifi.contents().partition(end)[0] + end, "utf-8")
    os.environ["SSL_CERT_FILE"] = str(one)

"""The upload service as a process: what it loads, and what it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
# The settings know the service by the name of its server.
_LOAD = """
import json, sys
sys.argv = ["uvicorn"]
import uploads.asgi
from uploads.signals import upload_finished, upload_removed
heard = [signal.has_listeners() for signal in (upload_finished, upload_removed)]
print(json.dumps({"modules": sorted(sys.modules), "heard": heard}))
"""


def test_the_service_hears_of_uploads_and_leaves_pictures_and_pages_alone(tmp_path):
    """What it does not need was a third of its memory."""
    answer = subprocess.run(
        [sys.executable, "-c", _LOAD],
        cwd=PROJECT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "orchestrator.settings", "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = json.loads(answer.stdout)
    assert loaded["heard"] == [True, True]
    unwanted = {"captioning", "PIL", "httpx2", "unfold", "drf_spectacular", "channels", "daphne", "scipy", "cv2"}
    assert unwanted.intersection(loaded["modules"]) == set()

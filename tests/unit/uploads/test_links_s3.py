"""Links of an S3 store: signed by it, at the address by which clients reach it."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import RequestFactory

from uploads import links


@pytest.fixture(autouse=True)
def _bucket(settings):
    links._client.cache_clear()
    options = {
        "endpoint_url": "http://store.internal:9000",
        "access_key": "key",
        "secret_key": "secret",
        "bucket_name": "uploads",
        "addressing_style": "path",
        "signature_version": "s3v4",
        "region_name": "us-east-1",
    }
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    }
    yield
    links._client.cache_clear()


@pytest.mark.parametrize(("public", "host"), [("https://files.example", "files.example"), ("", "store.internal:9000")])
def test_a_link_is_signed_for_the_address_that_clients_use(settings, public, host):
    settings.MINIO_PUBLIC_ENDPOINT, settings.PRESIGN_SECONDS = public, 123

    url = urlsplit(links.signed_url("surveys/1/hull.png", "hull 1.png", RequestFactory().get("/")))

    said = parse_qs(url.query)
    assert (url.netloc, url.path) == (host, "/uploads/surveys/1/hull.png")
    assert said["X-Amz-Expires"] == ["123"]
    assert len(said["X-Amz-Signature"][0]) == 64
    assert said["response-content-type"] == ["image/png"]
    assert said["response-content-disposition"] == ["inline; filename*=UTF-8''hull%201.png"]

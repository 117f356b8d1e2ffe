"""Front-end files by others: kept whole, with their licence, and only the ones that we know"""

from __future__ import annotations

import hashlib

import pytest
from django.conf import settings

VENDOR = settings.BASE_DIR / "static" / "vendor"
PACKAGES = sorted(VENDOR.iterdir())


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_is_as_it_was_published(package):
    listed = dict(
        reversed(line.split(maxsplit=1)) for line in (package / "SHA256SUMS").read_text().splitlines() if line
    )
    found = {
        str(file.relative_to(package)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in package.rglob("*")
        if file.is_file() and file.name not in ("SHA256SUMS", "LICENSE")
    }

    listed.pop("LICENSE", None)
    assert found == listed
    assert (package / "LICENSE").stat().st_size > 0

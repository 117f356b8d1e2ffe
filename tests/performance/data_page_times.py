"""Fill a database with 100,000 images and 270,000 captions, ask for pages again and again, print their cost as JSON."""

import json
import re
import statistics
import time
from pathlib import Path

import django

N_IMAGES, N_ASKED = 100_000, 40


def fill() -> int:
    """Make the data set `large`; returns the id of an image in its middle."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection

    from orchestrator.access import local_user

    call_command("load_perspectives", verbosity=0)
    owner: User = local_user()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO captioning_dataset (name, owner_id, updated_at) VALUES ('large', %s, now()) RETURNING id",
            [owner.pk],
        )
        dataset = cursor.fetchone()[0]
        # Every ninth picture looks like the one before it.
        cursor.execute(
            "INSERT INTO captioning_image"
            " (dataset_id, path, sha256, stored_as, format, size, width, height, look, look_group,"
            " ever_alike)"
            " SELECT %s, 'folder-' || n / 1000 || '/IMG_' || n || '.jpg', md5(n::text) || md5('x' || n),"
            " 'images/' || n, 'JPEG', 2000000, 4000, 3000, n, CASE WHEN n %% 9 = 0 THEN n - 1 ELSE n END,"
            " n %% 9 IN (0, 8)"
            " FROM generate_series(1, %s) n",
            [dataset, N_IMAGES],
        )
        cursor.execute(
            "INSERT INTO captioning_caption"
            " (image_id, perspective_id, perspective_version_id, source, provider, result, text, review)"
            " SELECT i.id, p.id, p.current_id, 'model', 'local-vision', '{\"caption\": \"An owl.\"}',"
            " 'An owl sits on ' || CASE WHEN i.id % 20 = 3 THEN 'twig' ELSE 'branch' END || ' number ' || i.id || '.',"
            " CASE WHEN i.id % 5 < 2 THEN 'proposed' WHEN i.id % 50 = 7 THEN 'rejected' ELSE 'accepted' END"
            " FROM captioning_image i JOIN captioning_perspective p"
            " ON p.name IN ('plain_caption', 'graph_caption', 'objects') WHERE i.id % 10 <> 9"
        )
        cursor.execute("VACUUM ANALYZE")
        cursor.execute(
            "SELECT id FROM captioning_image WHERE dataset_id = %s ORDER BY id OFFSET 50000 LIMIT 1", [dataset]
        )
        return int(cursor.fetchone()[0])


def measured(path: str) -> dict[str, float]:
    """Tell p95 in milliseconds, queries, and bytes of a first visit: the page, its scripts and styles, uncompressed."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"host": "localhost", "accept": "text/html"})
    times = []
    for _ in range(N_ASKED):
        began = time.perf_counter()
        answer = client.get(path)
        times.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, (path, answer.content[:300])
    with CaptureQueriesContext(connection) as queries:
        html = client.get(path).content
    return {
        "p95": statistics.quantiles(times[2:], n=20)[-1],
        "queries": len(queries),
        "bytes": len(html) + _assets(html),
    }


def _assets(html: bytes) -> int:
    from django.contrib.staticfiles import finders

    addresses = re.findall(r'(?:src|href)="/static/([^"#]+)"', html.decode())
    found = [finders.find(address) for address in set(addresses)]
    return sum(Path(place).stat().st_size for place in found if place)


if __name__ == "__main__":
    django.setup()
    from orchestrator.asgi import load_for_good

    load_for_good()
    image = fill()
    deep = image + 20_000  # about the 60,000th that has the word
    paths = {
        "data sets": "/datasets",
        "data set": "/datasets/large",
        "data set, last page": f"/datasets/large?page={N_IMAGES // 60}",
        "data set, rejected": "/datasets/large?state=rejected",
        "data set, a word of 19 captions in 20": "/datasets/large?search=branch",
        "that word without a caption": "/datasets/large?search=branch&state=none",
        "that word, rejected": "/datasets/large?search=branch&state=rejected",
        "that word, lacking a perspective": "/datasets/large?search=branch&lacks=objects",
        "that word, with a lookalike": "/datasets/large?search=branch&alike=1",
        "data set, a word of one in 20": "/datasets/large?search=twig",
        "that rarer word, rejected": "/datasets/large?search=twig&state=rejected",
        "data set, file name": "/datasets/large?search=IMG_77",
        "data set, what one in 10 lacks": "/datasets/large?lacks=objects",
        "counts of what is lacking": "/datasets/large/counts?lacks=objects",
        "data set, lookalikes": "/datasets/large?alike=1",
        "piece of a search, 120 tiles": "/datasets/large/tiles?search=twig&offset=2400&limit=120",
        "piece of a search (19 in 20), 120 tiles": "/datasets/large/tiles?search=branch&offset=0&limit=120",
        "the same at 2,400, jumped to": "/datasets/large/tiles?search=branch&offset=2400&limit=120",
        "the same at 60,000, scrolled to": f"/datasets/large/tiles?search=branch&offset=60000&limit=120&after={deep}",
        "the same at 60,000, jumped to": "/datasets/large/tiles?search=branch&offset=60000&limit=120",
        "counts of it": "/datasets/large/counts?search=branch",
        "piece of the grid, 120 tiles at 90,000": "/datasets/large/tiles?offset=90000&limit=120",
        "image": f"/images/{image}",
        "review": "/review",
        "review of the data set": "/review?dataset=large",
        "review, three ahead": f"/review/ahead?dataset=large&after={image}&n=3",
        "new job": "/jobs/new?dataset=large",
        "perspectives": "/perspectives",
        "perspective": "/perspectives/objects",
        "providers": "/providers",
    }
    print(json.dumps({name: measured(path) for name, path in paths.items()}))

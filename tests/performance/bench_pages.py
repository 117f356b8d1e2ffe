"""How long the server works for a page when there are a million items and ten thousand jobs."""

import json

from tests.faults.desk import temporary_folder
from tests.performance.bench_queue import Yard


def test_pages_at_a_million_items_and_ten_thousand_jobs():
    with temporary_folder() as folder:
        yard = Yard(folder)
        try:
            found = json.loads(yard.run("-m", "tests.performance.page_times").splitlines()[-1])
        finally:
            yard.server.stop()
    print()
    for name, p95 in found.items():
        print(f"{name:36} p95 {p95:7.1f} ms")
    assert found

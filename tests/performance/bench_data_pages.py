"""How long the server works for the curators' pages when a data set has 100,000 images and 270,000 captions."""

import json

from tests.faults.desk import temporary_folder
from tests.performance.bench_queue import Yard


def test_data_pages_at_a_hundred_thousand_images():
    with temporary_folder() as folder:
        yard = Yard(folder)
        try:
            found = json.loads(yard.run("-m", "tests.performance.data_page_times").splitlines()[-1])
        finally:
            yard.server.stop()
    print()
    for name, one in found.items():
        print(f"{name:40} p95 {one['p95']:7.1f} ms {one['queries']:4} queries {one['bytes'] / 1000:7.0f} kB")
    assert found

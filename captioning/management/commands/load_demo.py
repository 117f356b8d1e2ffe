"""Load the photographs that come with the desk, so that it has something to caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from captioning.intake import intake
from captioning.models import Dataset

FOLDER = Path(__file__).resolve().parents[2] / "demo"
NAME = "demo"


class Command(BaseCommand):
    help = "Load the demo data set: seven photographs. Running it again changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        dataset, _ = Dataset.objects.get_or_create(
            name=NAME, defaults={"description": "Seven photographs (CC0) to try the desk with."}
        )
        n_created = 0
        for place in sorted(FOLDER.iterdir()):
            if place.suffix in {".jpg", ".webp"}:
                with place.open("rb") as file:
                    n_created += intake(dataset, place.name, file).created
        self.stdout.write(f"Data set {NAME}: {n_created} photographs added, {dataset.images.count()} in all.")

from django.db import migrations
from django.db.models import F


def date(apps, schema_editor):
    """What lies in the trash was put there when its row was made."""
    dataset = apps.get_model("captioning", "Dataset")
    dataset.objects.filter(trash_of__isnull=False).update(thrown_at=F("created_at"))


class Migration(migrations.Migration):
    """Say of everything in the trash since when it is there."""

    dependencies = [("captioning", "0008_thrown_data_sets")]

    operations = [migrations.RunPython(date, migrations.RunPython.noop)]

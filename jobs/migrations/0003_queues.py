from django.db import migrations


def create_queues(apps, schema_editor):
    apps.get_model("jobs", "Queue").objects.bulk_create(
        [apps.get_model("jobs", "Queue")(name=n) for n in ("default", "heavy")]
    )
    apps.get_model("jobs", "EventStream").objects.create(job=None)


def remove_queues(apps, schema_editor):
    apps.get_model("jobs", "EventStream").objects.filter(job=None).delete()
    apps.get_model("jobs", "Queue").objects.all().delete()


class Migration(migrations.Migration):
    """The two queues, and the stream of events that belong to no job."""

    dependencies = [("jobs", "0002_storage")]

    operations = [migrations.RunPython(create_queues, remove_queues)]

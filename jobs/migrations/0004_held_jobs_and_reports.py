"""Jobs that wait for somebody outside the queue, and what a running item says of itself."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_running_jobs_and_leases")]

    operations = [
        migrations.AddField("job", "held", models.BooleanField(db_default=False, default=False)),
        migrations.AddField("lane", "report", models.JSONField(null=True)),
    ]

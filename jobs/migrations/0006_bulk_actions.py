import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0005_tallies"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="BulkAction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("verb", models.TextField()),
                ("parameters", models.JSONField(db_default={}, default=dict)),
                ("job_pks", models.JSONField(default=list)),
                ("n_jobs", models.PositiveIntegerField()),
                ("n_done", models.PositiveIntegerField(db_default=0, default=0)),
                ("n_skipped", models.PositiveIntegerField(db_default=0, default=0)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("starts_at", models.DateTimeField()),
                ("stopped_at", models.DateTimeField(null=True)),
                ("completed_at", models.DateTimeField(null=True)),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("completed_at__isnull", True), ("stopped_at__isnull", True)),
                        fields=["starts_at"],
                        name="bulk_action_open",
                    ),
                    models.Index(fields=["user", "-id"], name="bulk_action_of_user"),
                ],
            },
        ),
    ]

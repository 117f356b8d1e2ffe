import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0004_held_jobs_and_reports"),
    ]

    operations = [
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("n_completed", models.PositiveIntegerField(db_default=0, default=0)),
                ("n_failed", models.PositiveIntegerField(db_default=0, default=0)),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tallies", to="jobs.job"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["at"], name="tally_at")],
                "constraints": [models.UniqueConstraint(fields=("job", "at"), name="tally_once")],
            },
        ),
    ]

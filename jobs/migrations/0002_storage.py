from django.db import migrations


class Migration(migrations.Migration):
    """Lanes and items are updated again and again: leave room in their pages, and vacuum early."""

    dependencies = [("jobs", "0001_initial")]

    operations = [
        migrations.RunSQL(
            """
            ALTER TABLE jobs_lane SET (fillfactor = 50);
            ALTER TABLE jobs_jobitem SET (
                fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05
            );
            """,
            """
            ALTER TABLE jobs_lane RESET (fillfactor);
            ALTER TABLE jobs_jobitem RESET (
                fillfactor, autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor
            );
            """,
        )
    ]

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    """Hold what lies in the trash to be pictures of a data set, or a data set with the name it had."""

    dependencies = [("captioning", "0009_thrown_at")]

    operations = [
        migrations.AddConstraint(
            model_name="dataset",
            constraint=models.CheckConstraint(
                condition=Q(thrown_at=None, trash_of=None, thrown_name="")
                | Q(thrown_at__isnull=False, trash_of__isnull=False, thrown_name="")
                | (Q(thrown_at__isnull=False, trash_of=None) & ~Q(thrown_name="")),
                name="dataset_thrown_whole_or_in_part",
            ),
        )
    ]

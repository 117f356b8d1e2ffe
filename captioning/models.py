"""What captioning keeps: data sets, images, perspectives, captions, providers and the ledger of model calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models.functions import Lower, Now

from orchestrator.problems import Conflict

from . import secrets
from .querysets import CaptionQuerySet, DatasetQuerySet, ImageQuerySet, PerspectiveQuerySet, ProviderQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

NAME_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
name_validator = RegexValidator(NAME_PATTERN, "Use 1 to 64 letters, digits, _ or -.")


class Dataset(models.Model):
    name = models.TextField(unique=True, validators=[name_validator])
    description = models.TextField(blank=True, default="", db_default="")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="datasets")
    # What was deleted and may still come back (captioning/trash.py): since when and by whom, and which name it had, or
    # which data set its pictures come from where only they were deleted.
    thrown_at = models.DateTimeField(null=True, editable=False)
    thrown_name = models.TextField(blank=True, default="", db_default="", editable=False)
    trash_of = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="trash", editable=False)
    thrown_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(name__regex=NAME_PATTERN), name="dataset_name_form"),
            models.CheckConstraint(
                condition=models.Q(thrown_at=None, trash_of=None, thrown_name="")
                | models.Q(thrown_at__isnull=False, trash_of__isnull=False, thrown_name="")
                | (models.Q(thrown_at__isnull=False, trash_of=None) & ~models.Q(thrown_name="")),
                name="dataset_thrown_whole_or_in_part",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the images' bytes too, where nobody else uses them (ImageQuerySet.delete)."""
        return type(self).objects.filter(pk=self.pk).delete()


class ImageState(models.TextChoices):
    """How far a picture is: the least settled of its current captions decides. A trigger keeps it (migration 0004)."""

    NONE = "none"  # nobody has described it
    PROPOSED = "proposed"  # at least one caption waits for a verdict
    REJECTED = "rejected"  # all have a verdict, at least one was turned down
    ACCEPTED = "accepted"  # all were accepted


class Image(models.Model):
    """One picture of a data set. Its bytes lie once in the store, under their sha256, however many rows name them."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="images")
    path = models.TextField()  # as the caller named it: a file name, or a path below the workspace
    # Lowered once: to lower a hundred thousand names for each search takes six times as long as to look through them.
    path_lower = models.GeneratedField(expression=Lower("path"), output_field=models.TextField(), db_persist=True)
    sha256 = models.CharField(max_length=64)
    stored_as = models.TextField()  # key in the store
    format = models.TextField()  # what the bytes are (JPEG, PNG, WEBP …), never what the name says
    size = models.PositiveBigIntegerField()  # bytes
    width = models.PositiveIntegerField()  # pixels, after EXIF orientation
    height = models.PositiveIntegerField()
    n_frames = models.PositiveIntegerField(default=1, db_default=1)
    taken_at = models.DateTimeField(null=True, blank=True)
    exif = models.JSONField(default=dict, db_default={}, blank=True)
    state = models.TextField(
        choices=ImageState.choices, default=ImageState.NONE, db_default=ImageState.NONE, editable=False
    )
    n_captions = models.PositiveIntegerField(default=0, db_default=0, editable=False)  # current ones; see ImageState
    # How it looks (captioning/looks.py), null where there is nothing to see in it; the group is shared by those that
    # look alike, and null until somebody looked.
    look = models.BigIntegerField(null=True, editable=False)
    look_bands = ArrayField(models.IntegerField(), default=list, db_default=[], editable=False)
    look_group = models.BigIntegerField(null=True, editable=False)
    # Was put beside another once, which may be gone since: the few among which lookalikes have to be counted.
    ever_alike = models.BooleanField(default=False, db_default=False, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ImageQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "sha256"], name="image_once_in_dataset")]
        indexes = [
            # Is anybody else still using these bytes?
            models.Index(fields=["sha256"], name="image_by_sha256"),
            # Jobs name images by path; the data-set list is searched by it.
            models.Index(fields=["dataset", "path"], name="image_by_path"),
            # A job over a whole data set walks it in pages of ids; the grid reads from here what it filters by, in half
            # the time that the rows take.
            models.Index(fields=["dataset", "id"], include=["state", "path_lower"], name="image_grid"),
            # The grid of one state, and how many there are of each with how many captions.
            models.Index(fields=["dataset", "state", "id"], include=["n_captions"], name="image_by_state"),
            # Which others look like the ones shown, and which might look like a new one.
            models.Index(fields=["look_group"], name="image_by_look_group"),
            models.Index(
                fields=["dataset", "look_group"],
                include=["id", "state"],
                name="image_ever_alike",
                condition=models.Q(ever_alike=True),
            ),
            GinIndex(fields=["look_bands"], name="image_by_look_bands"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id}/{self.path}"

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the bytes too, where nobody else uses them (ImageQuerySet.delete)."""
        return type(self).objects.filter(pk=self.pk).delete()


class PerspectiveType(models.TextChoices):
    PERSPECTIVE = "perspective"
    SYNTHESIZER = "synthesizer"  # merges what other perspectives said of the same image
    CUSTOM = "custom"  # follows the user's own instructions


class Perspective(models.Model):
    """A way of describing an image. What it asks for lies in its versions, which never change."""

    name = models.TextField(unique=True, validators=[name_validator])
    module = models.TextField(default="default", db_default="default")
    enabled = models.BooleanField(default=True, db_default=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    current = models.ForeignKey(
        "PerspectiveVersion", null=True, on_delete=models.SET_NULL, related_name="+", editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = PerspectiveQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def may_be_changed_by(self, user: User | AnonymousUser) -> bool:
        """Shipped perspectives belong to nobody, so only staff changes them."""
        return bool(user.is_staff) or (self.owner_id is not None and self.owner_id == user.pk)


class PerspectiveVersion(models.Model):
    """One wording of a perspective; immutable, so that a caption can name what it answered."""

    perspective = models.ForeignKey(Perspective, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    type = models.TextField(choices=PerspectiveType.choices, default=PerspectiveType.PERSPECTIVE)
    display_name = models.TextField()
    description = models.TextField(blank=True, default="")
    prompt = models.TextField()
    schema_fields = models.JSONField()
    table_columns = models.JSONField(default=list)
    context_template = models.TextField(blank=True, default="")
    tags = models.JSONField(default=list, blank=True)
    priority = models.PositiveIntegerField(default=100)
    deprecated = models.BooleanField(default=False)
    replacement = models.TextField(null=True, blank=True)  # noqa: DJ001  # null in the file format
    builds_on = models.JSONField(default=list, blank=True)  # names of perspectives whose answers become its context
    local_vision = models.JSONField(default=dict, blank=True)  # field -> evidence that local vision may fill it with
    # sha256 of the shipped file that this version was read from; empty for what people wrote.
    shipped_digest = models.TextField(blank=True, default="", db_default="", editable=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["perspective", "number"], name="perspective_version_once")]

    def __str__(self) -> str:
        return f"{self.perspective_id} v{self.number}"


class ProviderKind(models.TextChoices):
    LOCAL_VISION = "local-vision"
    OPENAI = "openai"
    GEMINI = "gemini"
    OLLAMA = "ollama"
    VLLM = "vllm"
    OPENROUTER = "openrouter"
    ANTHROPIC = "anthropic"
    GROK = "grok"
    LLAMACPP = "llamacpp"
    LMSTUDIO = "lmstudio"


class Provider(models.Model):
    """Somebody who can answer: local vision, or a model behind an HTTP API."""

    name = models.TextField(unique=True)
    kind = models.TextField()  # open-ended; ProviderKind lists what has an adapter
    environment = models.TextField(choices=[("cloud", "cloud"), ("local", "local")])
    base_url = models.TextField(blank=True, default="")
    api_key_encrypted = models.BinaryField(blank=True, default=b"")
    is_enabled = models.BooleanField(default=True, db_default=True)
    default_model = models.TextField(blank=True, default="")
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    # US dollars for a million tokens; empty means the public price list, and unknown where that has none.
    input_price_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    output_price_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    modes = models.JSONField(default=dict, blank=True, editable=False)  # model -> structured-output mode that worked
    last_probe = models.JSONField(null=True, blank=True, editable=False)
    last_probe_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Keyed digest of the configuration that was last applied to this row, so that edits survive an unchanged one.
    source_digest = models.TextField(blank=True, default="", db_default="", editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ProviderQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def is_local_vision(self) -> bool:
        return self.kind == ProviderKind.LOCAL_VISION

    @property
    def has_api_key(self) -> bool:
        return bool(self.api_key_encrypted)

    @property
    def api_key(self) -> str:
        """The key in clear, for calling the provider; never for an answer to anybody."""
        return secrets.decrypt(bytes(self.api_key_encrypted))

    @api_key.setter
    def api_key(self, value: str) -> None:
        self.api_key_encrypted = secrets.encrypt(value)


class Throttle(models.Model):
    """When a provider may be called next: two virtual clocks that every call moves on by its share of a minute.

    A row, so that the limits hold over all processes and machines (captioning/throttle.py).
    """

    provider = models.OneToOneField(Provider, primary_key=True, on_delete=models.CASCADE, related_name="throttle")
    requests_free_at = models.DateTimeField(db_default=Now())
    tokens_free_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"throttle of {self.provider_id}"


class ProviderModel(models.Model):
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="models")
    name = models.TextField()
    is_enabled = models.BooleanField(default=True, db_default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["provider", "name"], name="provider_model_once")]

    def __str__(self) -> str:
        return self.name


class CaptionSource(models.TextChoices):
    HUMAN = "human"
    MODEL = "model"


class Review(models.TextChoices):
    PROPOSED = "proposed"  # left by a reviewer
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class CaptionSuperseded(Conflict):
    """The caption has a newer version"""


class Caption(models.Model):
    """What somebody or something said of an image under a perspective. Immutable: a change is a new row."""

    image = models.ForeignKey(Image, on_delete=models.CASCADE, related_name="captions")
    perspective = models.ForeignKey(Perspective, on_delete=models.PROTECT, related_name="captions")
    perspective_version = models.ForeignKey(PerspectiveVersion, on_delete=models.PROTECT, related_name="captions")
    source = models.TextField(choices=CaptionSource.choices)
    provider = models.TextField(blank=True, default="", db_default="")
    model = models.TextField(blank=True, default="", db_default="")
    parameters = models.JSONField(default=dict, db_default={}, blank=True)
    result = models.JSONField()
    text = models.TextField(blank=True, default="", db_default="")
    provenance = models.JSONField(default=dict, db_default={}, blank=True)
    review = models.TextField(choices=Review.choices, default=Review.PROPOSED, db_default=Review.PROPOSED)
    review_reason = models.TextField(blank=True, default="", db_default="")
    # Who wrote the words; null for a machine's. Verdicts leave it as it is.
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="captions")
    # Who put this version in the place of the one before: by a verdict, an edit, or by bringing an older one back.
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    # The queue's item that made it: at most one caption an item, however often the item runs.
    item = models.OneToOneField("jobs.JobItem", null=True, on_delete=models.SET_NULL, related_name="+")
    supersedes = models.OneToOneField("self", null=True, on_delete=models.SET_NULL, related_name="superseded_by")
    is_current = models.BooleanField(default=True, db_default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CaptionQuerySet.as_manager()

    class Meta:
        indexes = [
            # The captions beside a picture; which perspectives it still lacks.
            models.Index(fields=["image", "perspective"], name="caption_current", condition=models.Q(is_current=True)),
            # Which images still lack a perspective.
            models.Index(fields=["perspective", "image"], name="caption_by_lack", condition=models.Q(is_current=True)),
            # The review list.
            models.Index(
                fields=["perspective", "review", "id"], name="caption_to_review", condition=models.Q(is_current=True)
            ),
            # Review goes from picture to picture and takes up where it stopped.
            models.Index(
                fields=["image", "id"],
                name="caption_proposed",
                condition=models.Q(is_current=True, review="proposed"),
            ),
            # What one reviewer has done since they sat down.
            models.Index(fields=["reviewed_by", "-created_at"], name="caption_by_reviewer"),
        ]

    def __str__(self) -> str:
        return f"caption {self.pk} of image {self.image_id}"

    def revise(self, *, by: User, **changes: Any) -> Caption:
        """Put a new version in the place of this one and return it.

        changes: `result`, `text`, `review`, `review_reason`. New words make the version human and, unless a verdict
        comes with them, proposed again, with `by` as their author; a review alone changes neither words nor author.
        Asked again for what they did, they get that version. Raises CaptionSuperseded if another has replaced this one.
        """
        is_rewritten = "result" in changes or "text" in changes
        origin = (
            {"source": CaptionSource.HUMAN, "provenance": {}, "author": by}
            if is_rewritten
            else {"source": self.source, "provenance": self.provenance, "author_id": self.author_id}
        )
        kept: Mapping[str, Any] = {
            "result": self.result,
            "text": self.text,
            "review": self.review,
            "review_reason": self.review_reason,
            "provider": self.provider,
            "model": self.model,
            "parameters": self.parameters,
        }
        if is_rewritten:
            kept = {
                **kept,
                "provider": "",
                "model": "",
                "parameters": {},
                "review": Review.PROPOSED,
                "review_reason": "",
            }
        columns = {**kept, **origin, **changes}
        return self._replace(by, perspective_version_id=self.perspective_version_id, **columns)

    def restore(self, version: Caption, *, by: User) -> Caption:
        """Put an older version in the place of this one, whole: its words, who or what wrote them, and its verdict.

        Asked again for what they did, they get that version. Raises CaptionSuperseded if another has replaced this one;
        ValueError if the older one is of another image or perspective.
        """
        if (version.image_id, version.perspective_id) != (self.image_id, self.perspective_id):
            raise ValueError(f"Caption {version.pk} is no version of caption {self.pk}.")
        kept = (
            *("source", "author_id", "provider", "model", "parameters", "result", "text", "provenance"),
            *("review", "review_reason"),
        )
        columns = {name: getattr(version, name) for name in kept}
        return self._replace(by, perspective_version_id=version.perspective_version_id, **columns)

    def _replace(self, by: User, **columns: Any) -> Caption:
        successor = {"supersedes": self, "reviewed_by": by, **columns}
        with transaction.atomic():
            # Whoever retires the row writes its successor; a second one finds nothing to retire.
            if Caption.objects.filter(pk=self.pk, is_current=True).update(is_current=False):
                return Caption.objects.create(image_id=self.image_id, perspective_id=self.perspective_id, **successor)
        # Whoever did not hear that it was done does it again.
        if same := Caption.objects.current().filter(**successor).first():
            return same
        raise CaptionSuperseded(
            "This version has been replaced; ask for the history and change the current one.", caption=self.pk
        )


class ModelCall(models.Model):
    """The ledger: one row for each HTTP call to a provider, whatever came of it."""

    provider = models.ForeignKey(Provider, null=True, on_delete=models.SET_NULL, related_name="calls")
    model = models.TextField(blank=True, default="")
    job = models.ForeignKey("jobs.Job", null=True, on_delete=models.SET_NULL, related_name="+")
    item = models.ForeignKey("jobs.JobItem", null=True, on_delete=models.SET_NULL, related_name="+")
    status_code = models.PositiveSmallIntegerField(null=True)
    latency_ms = models.PositiveIntegerField()
    provider_request_id = models.TextField(blank=True, default="")
    tokens_in = models.PositiveIntegerField(null=True)
    tokens_out = models.PositiveIntegerField(null=True)
    tokens_cached = models.PositiveIntegerField(null=True)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, null=True)
    mode = models.TextField(blank=True, default="")
    repaired = models.BooleanField(default=False)
    error_code = models.TextField(blank=True, default="")
    # The beginning of an answer of no use; every other answer lies with its caption.
    unusable = models.TextField(blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["provider", "-created_at"], name="model_call_of_provider")]

    def __str__(self) -> str:
        return f"call {self.pk} of {self.model}"

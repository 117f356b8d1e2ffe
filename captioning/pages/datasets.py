"""Pages of data sets: the list, the grid of pictures, what is done to many of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import trigger_client_event

from jobs.creation import create
from jobs.states import JobType
from orchestrator import roles
from orchestrator.answers import action, user_of
from orchestrator.problems import Invalid

from .. import batch, trash
from ..image_filter import STATES, Glance, ImageFilter
from ..intake import intake
from ..models import Dataset, Image, Perspective
from ..pictures import PictureRefused
from ..querysets import ImageQuerySet

DATASETS_A_PAGE = 50
TILES_A_PAGE = 60
MOST_TILES = 300  # of one piece of the grid
MOST_PICKED = 400  # one by one; as many as an address can name
_LOOKALIKES_READ = 5_000
_TRASH_SHOWN = 3


@dataclass(frozen=True)
class Tile:
    """A picture of the grid. n_twins: others with the same bytes; n_alike: others that look like it.

    Its numbers are text already: a template would look up for each how the language of the page writes it.
    """

    pk: str
    place: str
    path: str
    state: str
    n_twins: int
    n_alike: int


@login_required
@require_safe
def datasets(request: HttpRequest) -> HttpResponse:
    shown = Dataset.objects.visible_to(request.user).select_related("owner").order_by("name")
    search = request.GET.get("dataset", "").strip()
    if search:
        shown = shown.filter(name__icontains=search)
    page = Paginator(shown, DATASETS_A_PAGE).get_page(request.GET.get("page"))
    page.object_list = page.object_list.with_counts()  # type: ignore[attr-defined]  # of one page, not of all
    thrown = list(trash.whole(user_of(request))[:_TRASH_SHOWN])
    return render(request, "captioning/datasets.html", {"page": page, "dataset_search": search, "thrown": thrown})


@action
def create_dataset(request: HttpRequest) -> str:
    roles.require(request.user, "captioning.add_dataset")
    dataset = Dataset(
        name=request.POST.get("name", "").strip(),
        description=request.POST.get("description", "").strip(),
        owner=user_of(request),
    )
    try:
        dataset.full_clean(validate_unique=False, validate_constraints=False)
        with transaction.atomic():
            dataset.save(force_insert=True)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages)) from None
    except IntegrityError:
        raise Invalid(
            _("There is already a data set “%(name)s”; choose another name.") % {"name": dataset.name}
        ) from None
    return f"/datasets/{dataset.name}"


@login_required
@require_safe
def dataset(request: HttpRequest, name: str) -> HttpResponse:
    shown = dataset_of(request, name)
    wanted = ImageFilter.of(request.GET.dict())
    # A search counts what it finds; to count all the others too would take it as long again.
    by_state = None if wanted.is_search else list(shown.images.tally("state"))
    known = None if by_state is None else {state: n for state, n, _ in by_state}
    asked = max(_number(request, "page", 1), 1)

    def glance(page: int) -> Glance:
        return wanted.glance(shown.images.all(), offset=(page - 1) * TILES_A_PAGE, n=TILES_A_PAGE, known=known)

    found = glance(asked)
    n_matching = found.counts[wanted.state]
    page = Paginator(range(n_matching), TILES_A_PAGE).get_page(asked)
    if page.number != asked:  # there are fewer now than when the address was made
        found = glance(page.number)
    context = {
        "dataset": shown,
        "n_images": None if known is None else sum(known.values()),
        "n_captions": None if by_state is None else sum(n for _, _, n in by_state),
        "wanted": wanted,
        **_counted(found.counts, wanted),
        "counts_follow": not found.is_counted,
        "page": page,
        "tiles": _tiles(found.ids, user_of(request), page.start_index()),
        "thumbnail_width": "192",
        "thrown": list(trash.of(shown)[:_TRASH_SHOWN]),
        "perspectives": Perspective.objects.usable()
        .order_by("current__priority", "name")
        .values("name", shown=F("current__display_name")),
        "most_picked": MOST_PICKED,
    }
    return render(request, "captioning/dataset.html", context)


@login_required
@require_safe
def tiles(request: HttpRequest, name: str) -> HttpResponse:
    """A piece of the grid: `offset`, `limit` and the filter; `width` of the thumbnails in pixels.

    `after`: the picture before it, where that is known; nothing before has to be found then.
    """
    offset, limit, width, after = (_number(request, member, 0) for member in ("offset", "limit", "width", "after"))
    images = dataset_of(request, name).images.all()
    if after:
        images = images.filter(pk__gt=after)
    # Ids first: an index alone leads to the place, however far down, and only the rows shown are read.
    ids = ImageFilter.of(request.GET.dict()).find(
        images, offset=0 if after else offset, n=min(limit or TILES_A_PAGE, MOST_TILES)
    )
    context = {
        "tiles": _tiles(ids, user_of(request), offset + 1),
        "thumbnail_width": "384" if width > 192 else "192",
    }
    return render(request, "captioning/_tiles.html", context)


@login_required
@require_safe
def counts(request: HttpRequest, name: str) -> HttpResponse:
    """How many pictures of each state match, for a page that did not wait until all were counted."""
    wanted = ImageFilter.of(request.GET.dict())
    counted = _counted(wanted.count(dataset_of(request, name).images.all()), wanted)
    answer = render(request, "captioning/_counted.html", counted)
    return trigger_client_event(answer, "desk-counted", {"total": counted["n_matching"]})


@action
def delete_dataset(request: HttpRequest, name: str) -> str:
    roles.require(request.user, "captioning.delete_dataset")
    if not trash.throw_away_whole(dataset_of(request, name), by=user_of(request)):
        raise Invalid(_("This data set is gone already."))
    return "/datasets"


@action
def restore_dataset(request: HttpRequest, trash_id: int) -> str:
    """Bring a deleted data set back under its name."""
    roles.require(request.user, "captioning.delete_dataset")
    thrown = get_object_or_404(trash.whole(user_of(request)), pk=trash_id)
    n_back, _n_dropped = trash.restore(thrown)
    messages.success(
        request,
        ngettext("“%(name)s” is back with %(n)s picture.", "“%(name)s” is back with %(n)s pictures.", n_back)
        % {"name": thrown.thrown_name, "n": n_back},
    )
    return f"/datasets/{thrown.thrown_name}"


@action
def upload(request: HttpRequest, name: str) -> str:
    """Take every uploaded file into the data set; one that is no picture is refused by name, the others stay."""
    roles.require(request.user, "captioning.add_image")
    dataset = dataset_of(request, name)
    files = request.FILES.getlist("images")
    if not files:
        raise Invalid(_("Choose at least one picture to upload."))
    n_created = n_present = 0
    for file in files:
        try:
            taken = intake(dataset, file.name or "picture", cast(BinaryIO, file.file))
        except PictureRefused as refused:
            messages.error(request, f"{file.name}: {refused.detail}")
            continue
        n_created += taken.created
        n_present += not taken.created
    if not n_created + n_present:
        return ""
    said = ngettext("%(n)d picture added.", "%(n)d pictures added.", n_created) % {"n": n_created}
    if n_present:
        said += " " + ngettext("%(n)d was here already.", "%(n)d were here already.", n_present) % {"n": n_present}
    return said


@login_required
@require_POST
def take(request: HttpRequest, name: str) -> JsonResponse:
    """Take one picture, `image`, and say what became of it: `outcome` added, present or refused with its reason."""
    roles.require(request.user, "captioning.add_image")
    dataset = dataset_of(request, name)
    file = request.FILES.get("image")
    if file is None:
        raise Invalid(_("Send the picture as the file `image`."))
    try:
        taken = intake(dataset, file.name or "picture", cast(BinaryIO, file.file))
    except PictureRefused as refused:
        return JsonResponse({"outcome": "refused", "reason": refused.detail})
    return JsonResponse({"outcome": "added" if taken.created else "present"})


@action
def caption_dataset(request: HttpRequest, name: str) -> str:
    """Queue a job over the whole data set and go to its page, where the captions appear."""
    roles.require(request.user, "jobs.add_job")
    options: dict[str, Any] = {"only_missing": "only_missing" in request.POST}
    if provider := request.POST.get("provider"):
        options["provider"] = provider
    body: dict[str, Any] = {
        "type": JobType.DATASET_PERSPECTIVE,
        "dataset": dataset_of(request, name).name,
        "perspectives": request.POST.getlist("perspectives"),
        "options": options,
        "name": request.POST.get("name", "").strip(),
    }
    user = user_of(request)
    return f"/jobs/{create(batch.draft(body, user).job, by=user).job_id}"


@action
def selection(request: HttpRequest, name: str) -> str:
    """Do something to the pictures chosen: those ticked (`images`, `ids`), or all that match the filter (`all`)."""
    dataset = dataset_of(request, name)
    wanted = ImageFilter.of(request.POST.dict())
    is_all = bool(request.POST.get("all"))
    picked = _picked(request)
    if not is_all and not picked:
        raise Invalid(_("Choose at least one picture first: tick it, or all that match."))
    verb = request.POST.get("verb")
    if verb == "job":
        if is_all:
            return f"/jobs/new?dataset={name}" + (f"&{wanted.query}" if wanted else "")
        if len(picked) > MOST_PICKED:
            raise Invalid(
                _("At most %(n)s pictures can be picked one by one; narrow the filter and choose all that match.")
                % {"n": MOST_PICKED}
            )
        return f"/jobs/new?dataset={name}&images=" + ",".join(str(pk) for pk in picked)
    if verb != "delete":
        raise Invalid(_("There is nothing called “%(verb)s” to do with pictures.") % {"verb": verb})
    roles.require(request.user, "captioning.delete_image")
    images = dataset.images.all()
    chosen = wanted.apply(images) if is_all else images.filter(pk__in=picked)
    _thrown, n_deleted = trash.throw_away(chosen, dataset, by=user_of(request))
    if not n_deleted:
        raise Invalid(_("These pictures are gone already."))
    return f"/datasets/{name}" + (f"?{wanted.query}" if wanted and not is_all else "")


@action
def undo(request: HttpRequest, name: str, trash_id: int) -> str:
    """Bring back what was deleted."""
    roles.require(request.user, "captioning.delete_image")
    dataset = dataset_of(request, name)
    n_back, n_dropped = trash.restore(get_object_or_404(trash.of(dataset), pk=trash_id))
    said = ngettext("%(n)s picture is back.", "%(n)s pictures are back.", n_back) % {"n": n_back}
    if n_dropped:
        said += " " + ngettext(
            "%(n)s had been uploaded again and stays once.", "%(n)s had been uploaded again and stay once.", n_dropped
        ) % {"n": n_dropped}
    messages.success(request, said)
    return f"/datasets/{name}"


def dataset_of(request: HttpRequest, name: str) -> Dataset:
    return get_object_or_404(Dataset.objects.visible_to(request.user), name=name)


def _counted(counts: Mapping[str, int], wanted: ImageFilter) -> dict[str, Any]:
    return {
        "states": [(state, counts[state]) for state in STATES],
        "n_all": counts[""],
        "n_matching": counts[wanted.state],
    }


def _tiles(ids: Sequence[int], user: User, start: int) -> list[Tile]:
    """start: the place of the first one in the grid, from 1."""
    images = list(Image.objects.filter(pk__in=ids).only("pk", "path", "sha256", "state", "look_group").order_by("pk"))
    others = _others(images, Image.objects.visible_to(user))
    found = []
    for place, image in enumerate(images, start):
        like = [sha256 for pk, sha256 in others[image.look_group] if pk != image.pk]
        n_twins = like.count(image.sha256)
        found.append(Tile(str(image.pk), str(place), image.path, image.state, n_twins, len(like) - n_twins))
    return found


def _others(images: Sequence[Image], among: ImageQuerySet) -> dict[int | None, list[tuple[int, str]]]:
    """Find (id, sha256) of everything in the groups of these images."""
    groups = {image.look_group for image in images if image.look_group is not None}
    found: dict[int | None, list[tuple[int, str]]] = defaultdict(list)
    rows = among.filter(look_group__in=groups).order_by().values_list("look_group", "pk", "sha256")
    for group, pk, sha256 in rows[:_LOOKALIKES_READ]:
        found[group].append((pk, sha256))
    return found


def _picked(request: HttpRequest) -> list[int]:
    words = [*request.POST.getlist("images"), *request.POST.get("ids", "").split(",")]
    return sorted({int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 19})


def _number(request: HttpRequest, member: str, default: int) -> int:
    text = request.GET.get(member, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

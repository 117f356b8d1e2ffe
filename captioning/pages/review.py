"""Review: picture by picture, what was said of it, and a verdict by one key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_POST, require_safe

from orchestrator import roles
from orchestrator.answers import id_from, user_of
from orchestrator.problems import Invalid, NotFound, Problem

from .. import caption_form, review, review_queue, word_diff
from ..models import Caption, CaptionSource, CaptionSuperseded, Dataset, Image, Perspective, Provider, Review
from ..review_queue import ReviewFilter

PREFETCHED = 3
_MOST_AHEAD = 8
_CAPTIONS_SHOWN = 60
_VERSIONS_SHOWN = 50
# What people turn captions down for, in the order of the number keys.
REASONS = tuple(map(gettext_noop, ("made up", "wrong object", "misread text", "too vague", "badly worded")))


@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The picture at `at` or the next one that waits; `before` goes back."""
    user = user_of(request)
    wanted = ReviewFilter.of(request.GET.dict())
    since = review_queue.began(request.GET.get("since", ""))
    ids = _asked_for(request, wanted)
    images = _items(ids, wanted, request)
    query = urlencode({"since": int(since.timestamp())}) + (f"&{wanted.query}" if wanted.query else "")
    context = {
        "items": images,
        "wanted": wanted,
        "query": query,
        "since": int(since.timestamp()),
        "progress": review_queue.progress(wanted, user, since),
        "last": review_queue.last_verdict(user, since),
        "datasets": Dataset.objects.visible_to(user).order_by("name")[:500],
        "perspectives": Perspective.objects.usable().order_by("current__priority", "name"),
        "sources": _sources(),
        "states": Review.values,
        "reasons": REASONS,
        "back": f"/review?{query}&at={ids[0]}" if ids else f"/review?{query}",
    }
    return render(request, "captioning/review.html", context)


@login_required
@require_safe
def ahead(request: HttpRequest) -> HttpResponse:
    """The next pictures behind `after`, for a page that fetches them before they are needed."""
    wanted = ReviewFilter.of(request.GET.dict())
    after, n = id_from(request.GET.get("after")), id_from(request.GET.get("n"))
    ids = review_queue.image_ids(wanted, user_of(request), start=after + 1, n=min(n or PREFETCHED, _MOST_AHEAD))
    context = {"items": _items(ids, wanted, request), "back": "/review", "reasons": REASONS}
    return render(request, "captioning/_review_items.html", context)


@login_required
@require_safe
def history(request: HttpRequest, caption_id: int) -> HttpResponse:
    """All versions of a caption, each with what it changed in the one before."""
    caption = _caption(request, caption_id)
    versions = list(
        review.history(caption).select_related("author", "reviewed_by", "perspective", "perspective_version")[
            :_VERSIONS_SHOWN
        ]
    )
    rows = []
    for version, older in zip(versions, [*versions[1:], None], strict=True):
        is_reworded = older is not None and older.text != version.text
        is_changed = older is not None and not is_reworded and older.result != version.result
        rows.append(
            {
                "version": version,
                "parts": word_diff.between(older.text if older else version.text, version.text),
                "is_reworded": is_reworded,
                "fields": word_diff.between_documents(older.result, version.result) if is_changed else [],
            }
        )
    context = {"caption": caption, "rows": rows, "back": _back(request.GET.get("back", ""))}
    return render(request, "captioning/_history.html" if _is_script(request) else "captioning/history.html", context)


@login_required
@require_safe
def edit_form(request: HttpRequest, caption_id: int) -> HttpResponse:
    caption = _caption(request, caption_id)
    context = {
        "caption": caption,
        "fields": caption_form.fields_of(caption),
        "back": _back(request.GET.get("back", "")),
    }
    return render(request, "captioning/_edit.html" if _is_script(request) else "captioning/edit.html", context)


@login_required
@require_POST
def change(request: HttpRequest, caption_id: int, verb: str) -> HttpResponse:
    """Accept, reject, reopen, edit, undo or restore. A program gets JSON, a form goes back to its page.

    A version that was replaced meanwhile is refused with 409 and shown beside the present one; nothing typed is lost.
    """
    roles.require(request.user, "captioning.change_caption")
    if verb not in VERBS:
        raise NotFound(_("There is nothing called “%(verb)s” to do with a caption.") % {"verb": verb})
    caption = _caption(request, caption_id)
    try:
        changed = VERBS[verb](caption, request)
    except CaptionSuperseded:
        return _conflict(request, caption, verb)
    except Problem as problem:
        if problem.status == 404:
            raise
        if _is_script(request):
            return JsonResponse({"detail": problem.detail}, status=problem.status)
        if verb == "edit":
            messages.error(request, problem.detail)
            fields = caption_form.fields_of(caption, request.POST.dict())
            context = {"caption": caption, "fields": fields, "back": _back(request.POST.get("back", ""))}
            return render(request, "captioning/edit.html", context, status=problem.status)
        messages.error(request, problem.detail)
        return redirect(_back(request.POST.get("back", "")))
    if not _is_script(request):
        return redirect(_back(request.POST.get("back", "")))
    shown = _caption(request, changed.pk)
    wanted = ReviewFilter.of({name: value for name, value in request.POST.dict().items() if name != "image"})
    since = review_queue.began(request.POST.get("since", ""))
    card = render_to_string(
        "captioning/_review_card.html",
        {"caption": shown, "is_open": shown.review == wanted.state, "back": "/review", "reasons": REASONS},
        request,
    )
    return JsonResponse(
        {"caption": shown.pk, "review": shown.review, "card": card, "progress": _told(request, wanted, since)}
    )


# --- Verbs


def _accept(caption: Caption, request: HttpRequest) -> Caption:
    return caption.revise(by=user_of(request), review=Review.ACCEPTED, review_reason="")


def _reject(caption: Caption, request: HttpRequest) -> Caption:
    reason = request.POST.get("reason", "").strip() or request.POST.get("usual", "").strip()
    if len(reason) > 2_000:
        raise Invalid(_("Give a reason of at most 2000 characters."))
    return caption.revise(by=user_of(request), review=Review.REJECTED, review_reason=reason)


def _reopen(caption: Caption, request: HttpRequest) -> Caption:
    return caption.revise(by=user_of(request), review=Review.PROPOSED, review_reason="")


def _edit(caption: Caption, request: HttpRequest) -> Caption:
    """Keep what a person typed, accepted by whoever typed it. Nothing typed leaves the words and their author alone."""
    result = caption_form.result_of(caption, request.POST.dict())
    if result == caption.result:
        return _accept(caption, request)
    return review.change(caption, {"result": result, "review": Review.ACCEPTED.value}, user_of(request))


def _undo(caption: Caption, request: HttpRequest) -> Caption:
    if caption.supersedes is None:
        raise Invalid(_("There is nothing to undo: this is the first version."))
    return caption.restore(caption.supersedes, by=user_of(request))


def _restore(caption: Caption, request: HttpRequest) -> Caption:
    version = review.history(caption).filter(pk=id_from(request.POST.get("version"))).first()
    if version is None:
        raise NotFound(_("There is no such version of this caption."))
    return caption.restore(version, by=user_of(request))


VERBS: dict[str, Callable[[Caption, HttpRequest], Caption]] = {
    "accept": _accept,
    "reject": _reject,
    "reopen": _reopen,
    "edit": _edit,
    "undo": _undo,
    "restore": _restore,
}


def _conflict(request: HttpRequest, mine: Caption, verb: str) -> HttpResponse:
    """Show what somebody else made of the caption beside what was about to be done to it."""
    theirs = review.history(mine).select_related("author", "reviewed_by", "perspective", "perspective_version").first()
    typed = {name: value for name, value in request.POST.dict().items() if name.startswith(caption_form.PREFIX)}
    text = mine.text
    if verb == "edit":
        fields = caption_form.fields_of(mine, request.POST.dict())
        text = "\n".join(field.value for field in fields if field.kind in ("text", "lines"))
    context = {
        "mine": mine,
        "theirs": theirs,
        "is_deleted": theirs is None or not theirs.is_current,
        "verb": verb,
        "typed": typed,
        "reason": request.POST.get("reason", "") or request.POST.get("usual", ""),
        "my_text": text,
        "parts": word_diff.between(theirs.text if theirs else "", text),
        "back": _back(request.POST.get("back", "")),
    }
    if _is_script(request):
        shown = render_to_string("captioning/_conflict.html", context, request)
        return JsonResponse({"detail": _("Somebody changed this caption meanwhile."), "conflict": shown}, status=409)
    return render(request, "captioning/conflict.html", context, status=409)


# --- What is shown


def _asked_for(request: HttpRequest, wanted: ReviewFilter) -> list[int]:
    user = user_of(request)
    if wanted.image:  # this one, whatever there is left to say of it
        return list(Image.objects.visible_to(user).filter(pk=int(wanted.image)).values_list("pk", flat=True))
    if request.GET.get("before"):
        found = review_queue.image_ids(wanted, user, before=id_from(request.GET.get("before")))
        if found:
            return found
    return review_queue.image_ids(wanted, user, start=id_from(request.GET.get("at")))


def _items(ids: list[int], wanted: ReviewFilter, request: HttpRequest) -> list[dict[str, Any]]:
    """Fetch pictures with all their current captions; those that match the filter are marked as open."""
    images = Image.objects.filter(pk__in=ids).select_related("dataset").in_bulk()
    captions = (
        Caption.objects.current()
        .filter(image__in=ids)
        .select_related("perspective", "perspective_version", "author", "reviewed_by")
        .order_by("perspective_version__priority", "perspective__name", "source", "id")
    )
    by_image: dict[int, list[Caption]] = {pk: [] for pk in ids}
    for caption in captions:
        caption.image = images[caption.image_id]
        by_image[caption.image_id].append(caption)
    return [
        {
            "image": images[pk],
            "cards": [{"caption": one, "is_open": _is_wanted(one, wanted)} for one in by_image[pk][:_CAPTIONS_SHOWN]],
        }
        for pk in ids
        if pk in images
    ]


def _is_wanted(caption: Caption, wanted: ReviewFilter) -> bool:
    if wanted.perspective and caption.perspective.name != wanted.perspective:
        return False
    if wanted.source:
        is_human = caption.source == CaptionSource.HUMAN
        if is_human != (wanted.source == CaptionSource.HUMAN) or not (is_human or caption.provider == wanted.source):
            return False
    return caption.review == wanted.state


def _told(request: HttpRequest, wanted: ReviewFilter, since: datetime) -> str:
    progress = review_queue.progress(wanted, user_of(request), since)
    return render_to_string("captioning/_review_progress.html", {"progress": progress})


def _sources() -> list[str]:
    return [CaptionSource.HUMAN.value, *Provider.objects.order_by("name").values_list("name", flat=True)]


def _caption(request: HttpRequest, caption_id: int) -> Caption:
    visible = Caption.objects.visible_to(user_of(request))
    related = ("image__dataset", "perspective", "perspective_version", "author", "reviewed_by", "supersedes")
    caption: Caption = get_object_or_404(visible.select_related(*related), pk=caption_id)
    return caption


def _is_script(request: HttpRequest) -> bool:
    return request.headers.get("X-Requested-With") == "fetch"


def _back(address: str) -> str:
    """The page of review that a form came from; never another site."""
    return address if address.startswith("/review") and "//" not in address and "\\" not in address else "/review"

"""Rows that are told more than their columns once they are fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from django.db import models
from django.db.models.query import ModelIterable


class ToldQuerySet(models.QuerySet):
    """Tells fetched rows what other tables know of them, as prefetch_related does: one statement for all of them.

    A correlated subquery would work it out anew for each row.
    """

    _told_of_fetched: tuple[Callable[[Sequence[Any]], None], ...] = ()

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]  # the stubs leave out what Django hides
        clone._told_of_fetched = self._told_of_fetched
        return clone

    def _fetch_all(self) -> None:
        is_new = self._result_cache is None
        super()._fetch_all()
        if is_new and self._result_cache and issubclass(self._iterable_class, ModelIterable):
            for tell in self._told_of_fetched:
                tell(self._result_cache)

    def telling(self, tell: Callable[[Sequence[Any]], None]) -> Self:
        """Have `tell` complete the rows when they are fetched."""
        told: Self = self._chain()  # type: ignore[attr-defined]  # likewise
        told._told_of_fetched = (*self._told_of_fetched, tell)
        return told

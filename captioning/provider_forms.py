"""What people may say of a provider, checked field by field, and how it is written to its rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import IntegrityError, transaction

from orchestrator.problems import Conflict, Invalid

from . import throttle
from .gateway import Permanent
from .gateway.outbound import check_url
from .models import Provider, ProviderKind, ProviderModel

Errors = dict[str, list[str]]

ENVIRONMENTS = ("cloud", "local")
_NAME = re.compile(r"[^\s\x00-\x1f/][^\x00-\x1f/]{1,62}[^\s\x00-\x1f/]")
_TEXTS = {"name": "name", "kind": "kind", "environment": "environment", "baseUrl": "base_url"}
_PRICES = {"inputPriceUsd": "input_price_usd", "outputPriceUsd": "output_price_usd"}
_LIMITS = {"requestsPerMinute": "requests_per_minute", "tokensPerMinute": "tokens_per_minute"}
WRITABLE = frozenset({*_TEXTS, *_PRICES, "apiKey", "isEnabled", "defaultModel", "models", "rateLimits"})
# What an answer shows and nobody sets; taken and passed over, so that an answer can be sent back with one change.
READ_ONLY = frozenset({"id", "hasApiKey", "createdAt", "updatedAt", "lastProbe", "lastProbeAt"})


class ProviderNameTaken(Conflict):
    """There is a provider of this name"""


class ProviderFixed(Conflict):
    """Local vision is part of the desk"""


def create(form: Mapping[str, Any]) -> Provider:
    """Raises Invalid, ProviderNameTaken."""
    cleaned, errors = clean(form)
    if cleaned.get("kind") == ProviderKind.LOCAL_VISION:
        errors.setdefault("kind", []).append("Local vision exists once and is made by the desk itself.")
    if errors:
        raise Invalid("The provider has errors.", errors=errors)
    return _write(Provider(), cleaned)


def change(provider: Provider, form: Mapping[str, Any]) -> Provider:
    """Write the fields that are given; `apiKey` absent keeps the key, empty or null clears it.

    Raises Invalid, ProviderNameTaken, ProviderFixed.
    """
    changed = set(form) - READ_ONLY
    if provider.is_local_vision and changed - {"isEnabled"}:
        raise ProviderFixed("Local vision has no address, key or model to change; it can only be switched on and off.")
    cleaned, errors = clean(form, present=provider)
    if not provider.is_local_vision and cleaned.get("kind") == ProviderKind.LOCAL_VISION:
        errors.setdefault("kind", []).append("Local vision exists once and is made by the desk itself.")
    if errors:
        raise Invalid("The provider has errors.", errors=errors)
    return _write(provider, cleaned)


def clean(form: Mapping[str, Any], *, present: Provider | None = None) -> tuple[dict[str, Any], Errors]:
    """Turn a form into column values and a list of errors by field.

    present: the row that is changed; fields that the form leaves out keep its values. Without it they are required.
    """
    errors: Errors = defaultdict(list)
    values: dict[str, Any] = {}
    for field in sorted(set(form) - WRITABLE - READ_ONLY):
        errors[field].append("A provider has no such field.")
    for field, column in _TEXTS.items():
        value = form.get(field, getattr(present, column) if present else "")
        if isinstance(value, str):
            values[column] = value.strip()
        else:
            errors[field].append("Give text.")
    if not errors.get("name") and not _NAME.fullmatch(values["name"]):
        errors["name"].append("Give 3 to 64 characters, no slash, no line break.")
    if not errors.get("kind") and values["kind"] not in ProviderKind.values:
        errors["kind"].append(f"Give one of {', '.join(ProviderKind.values)}.")
    if not errors.get("environment") and values["environment"] not in ENVIRONMENTS:
        errors["environment"].append("Give cloud or local.")
    if not errors.get("baseUrl") and values.get("kind") != ProviderKind.LOCAL_VISION:
        _check_address(values["base_url"], errors)
    _clean_key(form, values, errors)
    _clean_switch(form, values, errors)
    _clean_model_names(form, values, errors)
    _clean_numbers(form, values, errors)
    if present is None:
        for column in ("default_model", *_LIMITS.values(), *_PRICES.values()):
            values.setdefault(column, "" if column == "default_model" else None)
        values.setdefault("models", None)
    return values, dict(errors)


def replace_models(provider: Provider, models: Iterable[tuple[str, bool]]) -> None:
    """Make these (name, is_enabled) the provider's models; ones that stay keep their row."""
    wanted = dict(models)
    provider.models.exclude(name__in=wanted).delete()
    ProviderModel.objects.bulk_create(
        [ProviderModel(provider=provider, name=name, is_enabled=is_enabled) for name, is_enabled in wanted.items()],
        update_conflicts=True,
        unique_fields=["provider", "name"],
        update_fields=["is_enabled"],
    )


def _write(provider: Provider, cleaned: dict[str, Any]) -> Provider:
    models = cleaned.pop("models", None)
    key = cleaned.pop("api_key", None)
    is_another = key is not None or any(
        column in cleaned and cleaned[column] != getattr(provider, column) for column in ("base_url", *_LIMITS.values())
    )
    for column, value in cleaned.items():
        setattr(provider, column, value)
    if key is not None:
        provider.api_key = key
    try:
        with transaction.atomic():
            provider.save()
            if is_another:
                throttle.forget(provider)
            if models is not None:
                replace_models(provider, models)
    except IntegrityError as error:
        if "name" not in str(error):
            raise
        raise ProviderNameTaken(
            f"There is already a provider {provider.name!r}.", errors={"name": ["This name is taken."]}
        ) from None
    return provider


def _check_address(base_url: str, errors: Errors) -> None:
    try:
        # Only staff write providers, and their local servers are what local kinds are for.
        check_url(base_url, allow_private=True)
    except Permanent as error:
        errors["baseUrl"].append(str(error))


def _clean_key(form: Mapping[str, Any], values: dict[str, Any], errors: Errors) -> None:
    if "apiKey" not in form:
        return
    key = form["apiKey"] if form["apiKey"] is not None else ""
    if not isinstance(key, str) or len(key) > 4096:
        errors["apiKey"].append("Give text of at most 4096 characters; empty clears the key.")
    elif any(not 33 <= ord(character) <= 126 for character in key.strip()):
        errors["apiKey"].append("A key has no spaces, line breaks or letters outside ASCII; copy it again.")
    else:
        values["api_key"] = key.strip()


def _clean_switch(form: Mapping[str, Any], values: dict[str, Any], errors: Errors) -> None:
    if "isEnabled" not in form:
        return
    if isinstance(form["isEnabled"], bool):
        values["is_enabled"] = form["isEnabled"]
    else:
        errors["isEnabled"].append("Give true or false.")


def _clean_model_names(form: Mapping[str, Any], values: dict[str, Any], errors: Errors) -> None:
    if "defaultModel" in form:
        value = form["defaultModel"] if form["defaultModel"] is not None else ""
        if isinstance(value, str) and len(value) <= 200:
            values["default_model"] = value.strip()
        else:
            errors["defaultModel"].append("Give the name of a model.")
    if form.get("models") is None:
        return
    if not isinstance(form["models"], list):
        errors["models"].append("Give a list of names, or of {name, isEnabled}.")
        return
    models: dict[str, bool] = {}
    for index, entry in enumerate(form["models"]):
        name, is_enabled = (entry, True) if isinstance(entry, str) else (None, True)
        if isinstance(entry, dict):
            name, is_enabled = entry.get("name"), entry.get("isEnabled", True)
        if not isinstance(name, str) or not name.strip() or len(name) > 200 or not isinstance(is_enabled, bool):
            errors[f"models[{index}]"].append("Give a name, or {name, isEnabled}.")
        else:
            models[name.strip()] = is_enabled
    values["models"] = list(models.items())


def _clean_numbers(form: Mapping[str, Any], values: dict[str, Any], errors: Errors) -> None:
    limits = form.get("rateLimits")
    # Older clients send what they were given: a list of at most one.
    limits = limits[0] if isinstance(limits, list) and len(limits) == 1 else limits
    if "rateLimits" in form and limits in (None, []):
        values |= dict.fromkeys(_LIMITS.values())
    elif limits is not None and not isinstance(limits, dict):
        errors["rateLimits"].append("Give {requestsPerMinute, tokensPerMinute}.")
    elif limits is not None:
        for field, column in _LIMITS.items():
            if field not in limits:
                continue
            value = limits[field]
            is_number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 2_000_000_000
            if value is None or is_number:
                values[column] = value
            else:
                errors[f"rateLimits.{field}"].append("Give a whole number of at least 1, or null for no limit.")
    for field, column in _PRICES.items():
        if field in form:
            values[column] = _price(form[field], field, errors)


def _price(value: Any, field: str, errors: Errors) -> Decimal | None:
    if value is None:
        return None
    try:
        price = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        price = Decimal("NaN")
    if price.is_finite() and 0 <= price < 1_000_000:
        return price
    errors[field].append("Give US dollars for a million tokens, or null for the public price list.")
    return None

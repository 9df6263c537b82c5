"""Forms for the settings of an assistant, made from its graph's JSON schema."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

PREFIX = "setting_"


class AnyJSON(forms.JSONField):
    """A JSON value, kept as the text that was typed until it is valid."""

    widget = UnfoldAdminTextareaWidget


def fields_of(schema: dict[str, Any], values: dict[str, Any]) -> dict[str, forms.Field]:
    """One field for each property of the schema, by `PREFIX` and its name."""
    named = schema.get("properties") or {}
    required = schema.get("required") or []
    return {
        f"{PREFIX}{name}": _field(
            name, _resolved(given, schema), values.get(name), name in required
        )
        for name, given in named.items()
    }


def values_of(cleaned: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """The settings that a form was filled with; an empty field removes its setting.

    `kept` are the present settings: those that the schema does not name stay.
    """
    values = dict(kept)
    for field, value in cleaned.items():
        if not field.startswith(PREFIX):
            continue
        name = field.removeprefix(PREFIX)
        values.pop(name, None)
        if value is not None and value != "":
            values[name] = value
    return values


def _resolved(given: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A property without a reference, and the one type of those that may be null."""
    if options := given.get("anyOf"):
        typed = [one for one in options if one.get("type") != "null"]
        if len(typed) == 1:
            given = {**given, **typed[0]}
    reference = str(given.get("$ref") or "")
    if reference.startswith("#/$defs/"):
        found = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
        given = {**found, **given}
    return given


def _field(name: str, given: dict[str, Any], value: Any, required: bool) -> forms.Field:
    common: dict[str, Any] = {
        "label": given.get("title") or name,
        "help_text": given.get("description") or _default(given),
        "initial": value,
        "required": False,
    }
    match given.get("type"):
        case _ if options := given.get("enum"):
            choices = [("", "-"), *((str(one), str(one)) for one in options)]
            by_text = {str(one): one for one in options}
            return forms.TypedChoiceField(
                choices=choices,
                coerce=by_text.__getitem__,
                empty_value=None,
                widget=UnfoldAdminSelectWidget,
                **common,
            )
        case "string":
            return forms.CharField(widget=UnfoldAdminTextInputWidget, **common)
        case "boolean" if value is not None or required:
            return forms.BooleanField(widget=UnfoldBooleanWidget, **common)
        case _:
            return AnyJSON(**{**common, "initial": value})


def _default(given: dict[str, Any]) -> str:
    return f"Default: {given['default']}" if "default" in given else ""

"""Forms for the settings of an assistant, made from its graph's JSON schema."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from spool.database.json import dumps

PREFIX = "setting_"
# Texts with more characters get a field with several lines.
LONG = 60


class AnyJSON(forms.JSONField):
    """A field for any JSON value. Invalid JSON stays in the form as it was typed."""

    widget = UnfoldAdminTextareaWidget

    def __init__(self, **options: Any) -> None:
        widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})
        super().__init__(**{"widget": widget, **options})

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


def fields_of(schema: dict[str, Any], values: dict[str, Any]) -> dict[str, forms.Field]:
    """One field for each property of the schema, by `PREFIX` and its name."""
    named = schema.get("properties") or {}
    return {
        f"{PREFIX}{name}": _field(name, _resolved(given, schema), values.get(name))
        for name, given in named.items()
    }


def values_of(cleaned: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """The settings from a form's values; an empty field removes its setting.

    `kept` are the current settings: those that the schema does not name stay.
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
    """Resolve a property's reference, and replace "a type or null" by the type."""
    if options := given.get("anyOf"):
        typed = [one for one in options if one.get("type") != "null"]
        if len(typed) == 1:
            given = {**given, **typed[0]}
    reference = str(given.get("$ref") or "")
    if reference.startswith("#/$defs/"):
        found = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
        given = {**found, **given}
    return given


def _field(name: str, given: dict[str, Any], value: Any) -> forms.Field:
    common: dict[str, Any] = {
        "label": given.get("title") or name,
        "help_text": _help(given),
        "initial": value,
        "required": False,
    }
    limits: dict[str, Any] = {
        "min_value": given.get("minimum"),
        "max_value": given.get("maximum"),
    }
    match given.get("type"):
        case _ if options := given.get("enum"):
            return _choice([(str(one), one) for one in options], common)
        case "boolean":
            return _choice([("true", True), ("false", False)], common)
        case "integer":
            widget = UnfoldAdminIntegerFieldWidget
            return forms.IntegerField(widget=widget, **limits, **common)
        case "number":
            # Allow any decimals: by default, browsers only accept whole numbers.
            widget = UnfoldAdminDecimalFieldWidget(attrs={"step": "any"})
            return forms.FloatField(widget=widget, **limits, **common)
        case "string" if _is_long(value) or _is_long(given.get("default")):
            return forms.CharField(widget=UnfoldAdminTextareaWidget, **common)
        case "string":
            return forms.CharField(widget=UnfoldAdminTextInputWidget, **common)
        case _:
            return AnyJSON(**common)


def _choice(options: list[tuple[str, Any]], common: dict[str, Any]) -> forms.Field:
    """A field that offers these pairs of a label and a value, and an empty choice."""
    by_text = {str(value): value for _, value in options}
    return forms.TypedChoiceField(
        choices=[("", "-"), *((str(value), label) for label, value in options)],
        coerce=by_text.__getitem__,
        empty_value=None,
        widget=UnfoldAdminSelectWidget,
        **common,
    )


def _is_long(text: Any) -> bool:
    return isinstance(text, str) and (len(text) > LONG or "\n" in text)


def _help(given: dict[str, Any]) -> str:
    """The description, and the default for an empty field."""
    default = given.get("default")
    used = "" if default in (None, "") else f"Default: {dumps(default).decode()}"
    description = str(given.get("description") or "").removesuffix(".")
    return ". ".join(part for part in (description, used) if part)

"""What operators can do with a store item."""

from __future__ import annotations

from typing import Any

from django import forms

from spool.console.operations import Operation, ReasonForm, deletion
from spool.console.schema_forms import AnyJSON
from spool.store.models import StoreItem


class MetadataForm(ReasonForm):
    metadata = AnyJSON(required=False)

    field_order = ("metadata", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial = {"metadata": self.row.metadata, **self.initial}

    def clean_metadata(self) -> dict[str, Any]:
        metadata = self.cleaned_data["metadata"] or {}
        if not isinstance(metadata, dict):
            raise forms.ValidationError("The metadata must be an object.")
        return metadata


def _change(item: StoreItem, answers: dict[str, Any]) -> bool:
    # Update only the metadata: the owner may have changed the item in the meantime.
    found = StoreItem.objects.filter(pk=item.pk)
    return bool(found.update(metadata=answers["metadata"]))


STORE_OPERATIONS = (
    Operation(
        "change_metadata",
        "Change the metadata",
        _change,
        done="metadata changed",
        left="it is gone",
        form=MetadataForm,
        in_list=False,
    ),
    deletion(lambda item, answers: StoreItem.objects.filter(pk=item.pk).delete()[0]),
)

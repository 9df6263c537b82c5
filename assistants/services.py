"""Create, change and delete assistants, and find the assistant of a run."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.db.models.functions import Now

from spool.access.policy import Scope
from spool.assistants import hooks
from spool.assistants.assistant_request import UNCHANGED, AssistantChanges, NewAssistant
from spool.assistants.graphs import registry
from spool.assistants.models import Assistant, AssistantQuerySet, AssistantVersion
from spool.web.errors import BadRequest, Conflict, NotFound, Unprocessable
from spool.web.limits import check_merged_metadata

logger = logging.getLogger(__name__)

# The official server's namespace, so that clients can compute the ids.
SYSTEM_NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
SYSTEM_METADATA = {"created_by": "system"}


@lru_cache(maxsize=1024)
def system_assistant_id(graph_id: str) -> UUID:
    return uuid.uuid5(SYSTEM_NAMESPACE, graph_id)


def register_system_assistants() -> None:
    """Create an assistant for each served graph. Safe to run in several processes."""
    graphs = registry()
    assistants = [
        Assistant(
            id=system_assistant_id(graph_id),
            graph_id=graph_id,
            name=graphs.name(graph_id),
            description=graphs.description(graph_id),
            metadata=SYSTEM_METADATA,
            is_system=True,
        )
        for graph_id in graphs.graph_ids
    ]
    Assistant.objects.bulk_create(assistants, ignore_conflicts=True)
    versions = [
        AssistantVersion(
            assistant=assistant,
            graph_id=assistant.graph_id,
            name=assistant.name,
            description=assistant.description,
            metadata=SYSTEM_METADATA,
        )
        for assistant in assistants
    ]
    AssistantVersion.objects.bulk_create(versions, ignore_conflicts=True)
    _update_descriptions({one.id: (one.name, one.description) for one in assistants})
    _log_taken_ids([one.id for one in assistants])
    hooks.changed()


def _update_descriptions(described: dict[UUID, tuple[str, str | None]]) -> None:
    """Update names and descriptions that changed in a graph or in langgraph.json.

    Assistants that were edited since they were created keep theirs.
    """
    unchanged = Assistant.objects.filter(is_system=True, version=1)
    for assistant in unchanged.filter(pk__in=described):
        name, description = wanted = described[assistant.id]
        if (assistant.name, assistant.description) != wanted:
            changes = {"name": name, "description": description}
            unchanged.filter(pk=assistant.pk).update(**changes, updated_at=Now())
            versions = AssistantVersion.objects.filter(assistant=assistant, version=1)
            versions.update(**changes)


def _log_taken_ids(ids: list[UUID]) -> None:
    """Log ids that clients have taken: ids can be computed before a graph is served."""
    for assistant in Assistant.objects.filter(pk__in=ids, is_system=False):
        logger.error(
            "assistant %s of %r has the id that belongs to a graph: other callers "
            "can't use the graph by its name until it is deleted and the server "
            "restarted",
            assistant.id,
            assistant.owner,
        )


def assistant_id_of(name_or_id: str) -> UUID:
    """The id of an assistant that a run or a cron names by id, graph id or graph name.

    Raises 422 for a name that no graph has.
    """
    try:
        return UUID(name_or_id)
    except ValueError:
        if graph_id := registry().find(name_or_id):
            return system_assistant_id(graph_id)
    known = ", ".join(registry().graph_ids)
    raise Unprocessable(
        f"Invalid assistant: '{name_or_id}'. Must be either: a valid assistant UUID, "
        f"or one of the registered graphs: {known}"
    )


# A cache of assistants that runs of this process used, for plain scopes.
_remembered: dict[UUID, Assistant] = {}
MAX_REMEMBERED = 1000


def resolve_assistant(
    scope: Scope, name_or_id: str, *, remembered: bool = False
) -> Assistant:
    """The assistant that a run or a cron names.

    A cached one (`remembered`) may be out of date: compare its `updated_at`.
    Raises 422 for a name that no graph has, 404 for an id that the caller can't see,
    and 422 for an assistant whose graph is no longer served.
    """
    assistant_id = assistant_id_of(name_or_id)
    assistant = _remembered.get(assistant_id) if remembered else None
    if assistant is None or not _is_usable_by(scope, assistant):
        assistant = Assistant.objects.usable_by(scope).filter(pk=assistant_id).first()
        _remember(assistant_id, assistant)
    if assistant is None:
        raise NotFound("Thread or assistant not found.")
    if assistant.graph_id not in registry().graph_ids:
        raise Unprocessable(
            f"assistant_id: graph '{assistant.graph_id}' is no longer in langgraph.json"
        )
    return assistant


def _is_usable_by(scope: Scope, assistant: Assistant) -> bool:
    """Whether `usable_by` would find the assistant, without a query."""
    if not scope.is_plain:
        return False
    return not scope.rows or assistant.is_system or assistant.owner == scope.owner


def _remember(assistant_id: UUID, assistant: Assistant | None) -> None:
    if len(_remembered) >= MAX_REMEMBERED:
        _remembered.clear()
    if assistant is None:
        _remembered.pop(assistant_id, None)
    else:
        _remembered[assistant_id] = assistant


def mirror_context(
    config: Mapping[str, Any], context: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copy `context` to `config.configurable` or back: both mean the same.

    Raises 400 if both are given.
    """
    configurable = config.get("configurable") or {}
    if configurable and context:
        raise BadRequest(
            "Cannot specify both configurable and context. Prefer setting context "
            "alone."
        )
    if context:
        return {**config, "configurable": context}, dict(context)
    return dict(config), configurable


class AssistantExists(Conflict):
    def __init__(self, assistant_id: UUID) -> None:
        super().__init__(f"Assistant {assistant_id} already exists")


def check_graph(graph_id: str) -> None:
    """Raise 404 if the graph is not served. The error names the served graphs."""
    known = registry().graph_ids
    if graph_id not in known:
        raise NotFound(f"Graph '{graph_id}' not found. Expected one of: {known}")


@transaction.atomic
def create_assistant(scope: Scope, new: NewAssistant) -> Assistant:
    """Create an assistant with version 1. If its id exists, `if_exists` decides."""
    check_graph(new.graph_id)
    config, context = mirror_context(new.config, new.context)
    assistant = Assistant(
        id=new.id,
        graph_id=new.graph_id,
        config=config,
        context=context,
        metadata=new.metadata,
        name=new.name or "Untitled",
        description=new.description,
    )
    try:
        with transaction.atomic():
            assistant.save(force_insert=True)
    except IntegrityError:
        visible = Assistant.objects.visible_to(scope).filter(pk=assistant.pk).first()
        if visible is None or new.if_exists != "do_nothing":
            raise AssistantExists(assistant.id) from None
        return visible
    _record_version(assistant)
    transaction.on_commit(hooks.changed)
    assistant.refresh_from_db()
    return assistant


@transaction.atomic
def update_assistant(
    assistants: AssistantQuerySet, assistant_id: UUID, changes: AssistantChanges
) -> Assistant | None:
    """Create a new version, numbered under the row's lock. None if not found."""
    assistant = (
        assistants.select_for_update(of=("self",)).filter(pk=assistant_id).first()
    )
    if assistant is None:
        return None
    if changes.graph_id is not UNCHANGED:
        check_graph(changes.graph_id)
    _configure(assistant, changes)
    merged = {**assistant.metadata, **changes.metadata}
    check_merged_metadata(merged, before=assistant.metadata)
    assistant.metadata = merged
    for name in ("graph_id", "name", "description"):
        if (changed := getattr(changes, name)) is not UNCHANGED:
            setattr(assistant, name, changed)
    newest = assistant.versions.aggregate(newest=Max("version"))["newest"]
    assistant.version = (newest or 0) + 1
    _save_head(assistant)
    _record_version(assistant)
    return assistant


def _configure(assistant: Assistant, changes: AssistantChanges) -> None:
    """Change the config and the context together, since both mean the same."""
    config, context = changes.config, changes.context
    if config is UNCHANGED and context is UNCHANGED:
        return
    if config is UNCHANGED:
        config = {k: v for k, v in assistant.config.items() if k != "configurable"}
    if context is UNCHANGED:
        context = {}
    assistant.config, assistant.context = mirror_context(config, context)


@transaction.atomic
def delete_assistant(assistants: AssistantQuerySet, assistant_id: UUID) -> None:
    """Delete an assistant and its versions, including one being created now."""
    # Versions are created under the row's lock: a new one would block the delete.
    locked = assistants.select_for_update(of=("self",)).filter(pk=assistant_id)
    for assistant in locked:
        assistant.delete()
        hooks.deleted(assistant_id)
        transaction.on_commit(hooks.changed)


@transaction.atomic
def set_latest(
    assistants: AssistantQuerySet,
    assistant_id: UUID,
    version: int,
    metadata: Mapping[str, Any],
) -> Assistant | None:
    """Make an earlier version the current one. None if there is no such assistant.

    `metadata` is merged into that of the version, which may not have an owner yet.
    """
    assistant = (
        assistants.select_for_update(of=("self",)).filter(pk=assistant_id).first()
    )
    if assistant is None:
        return None
    chosen = assistant.versions.filter(version=version).first()
    if chosen is None:
        raise NotFound(f"Version {version} not found for assistant {assistant_id}")
    for name in VERSIONED:
        setattr(assistant, name, getattr(chosen, name))
    assistant.metadata = {**assistant.metadata, **metadata}
    _save_head(assistant)
    return assistant


VERSIONED = (
    "graph_id",
    "version",
    "name",
    "description",
    "config",
    "context",
    "metadata",
)


def _save_head(assistant: Assistant) -> None:
    Assistant.objects.filter(pk=assistant.pk).update(
        **{name: getattr(assistant, name) for name in VERSIONED}, updated_at=Now()
    )
    transaction.on_commit(hooks.changed)
    assistant.refresh_from_db()


def _record_version(assistant: Assistant) -> None:
    AssistantVersion.objects.create(
        assistant=assistant, **{name: getattr(assistant, name) for name in VERSIONED}
    )


def delete_owned_by(owner: str) -> int:
    """Delete all assistants of an owner, with their versions. Returns their number."""
    own = Assistant.objects.filter(owner=owner, is_system=False)
    ids = list(own.values_list("pk", flat=True))
    for assistant_id in ids:
        delete_assistant(own, assistant_id)
    return len(ids)

"""Parse the requests of clients: commands, and their parameters."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from spool.protocols.event_streaming.errors import Refusal

Model = TypeVar("Model", bound=BaseModel)
Namespace = tuple[StrictStr, ...]
JSONObject = dict[str, Any]

NO_COMMAND = "Protocol commands must include an integer id and string method."
NO_JSON = "Protocol commands must be valid JSON."


class Params(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if value is not None}
        return given


class Command(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: Annotated[StrictInt, Field(ge=0, lt=2**63)]
    method: StrictStr
    params: Any = None


class Overrides(Params):
    """Options that a command may give for the run that it starts."""

    config: JSONObject = Field(default_factory=dict)
    metadata: JSONObject = Field(default_factory=dict)


class RunStart(Overrides):
    assistant_id: StrictStr
    input: Any = None
    context: JSONObject = Field(default_factory=dict)
    multitask_strategy: Annotated[
        StrictStr | None,
        Field(validation_alias=AliasChoices("multitask_strategy", "multitaskStrategy")),
    ] = None
    langsmith_tracer: JSONObject | None = None


class Answer(Params):
    interrupt_id: StrictStr
    response: Any = None
    namespace: Namespace = ()


class InputRespond(Overrides):
    """Either one answer, or several in `responses`."""

    responses: Annotated[tuple[Answer, ...], Field(min_length=1, max_length=1000)]
    update: Any = None
    goto: Any = None
    strict_resume: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _one_is_several(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("responses") is not None:
            return given
        names = ("interrupt_id", "response", "namespace")
        one = {name: given[name] for name in names if name in given}
        return {**given, "responses": [one]}


class OfRun(Params):
    run_id: StrictStr | None = None


class StateGet(Params):
    namespace: Namespace = ()
    keys: tuple[StrictStr, ...] | None = None
    checkpoint_id: StrictStr | None = None


class ListCheckpoints(Params):
    namespace: Namespace = ()
    limit: Annotated[StrictInt, Field(ge=1, le=1000)] = 10
    before: StrictStr | None = None


class StateFork(Overrides):
    checkpoint_id: StrictStr
    input: Any = None


class Unsubscribe(Params):
    subscription_id: StrictStr


def parsed(model: type[Model], params: Any) -> Model:
    """Parse parameters. Raises `Refusal("invalid_argument")`, naming what is wrong."""
    try:
        return model.model_validate({} if params is None else params)
    except ValidationError as exc:
        lines = [
            ": ".join([".".join(map(str, error["loc"])), error["msg"]]).lstrip(": ")
            for error in exc.errors(include_url=False, include_input=False)[:5]
        ]
        raise Refusal("invalid_argument", "; ".join(lines)) from None


def parsed_command(given: Any) -> Command:
    """Parse a command. Raises `Refusal("invalid_argument")` for anything else."""
    try:
        return Command.model_validate(given)
    except ValidationError:
        raise Refusal("invalid_argument", NO_COMMAND) from None

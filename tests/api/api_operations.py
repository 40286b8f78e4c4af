"""What the API says of itself: its operations, and sound bodies for them made from its own schemas."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """`path`, `query`: names of parameters. `body`: the schema of a JSON body, or None.

    optional: a call without one is as sound.
    """

    method: str
    path: str
    in_path: tuple[str, ...]
    query: tuple[str, ...]
    needed: tuple[str, ...]
    body: Json | None
    optional: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations(document: Json) -> Iterator[Operation]:
    """Every operation of an OpenAPI document."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parameters = operation.get("parameters", [])
            content = operation.get("requestBody", {}).get("content", {})
            yield Operation(
                method.upper(),
                path,
                tuple(found["name"] for found in parameters if found["in"] == "path"),
                tuple(found["name"] for found in parameters if found["in"] == "query"),
                tuple(found["name"] for found in parameters if found["in"] == "query" and found.get("required")),
                content.get("application/json", {}).get("schema"),
                not operation.get("requestBody", {}).get("required", False),
            )


@dataclass(frozen=True)
class Place:
    """A place in a body that holds an id. `steps`: keys and indices that lead there."""

    steps: tuple[str | int, ...]
    field: str

    def put(self, body: Json, value: str) -> Json:
        changed = deepcopy(body)
        inner: Any = changed
        for step in self.steps[:-1]:
            inner = inner[step]
        inner[self.steps[-1]] = value
        return changed


class Bodies:
    """Makes bodies. `value_of(field)`: the id to put where a field holds one; None where the field holds none.

    `text_of(field)`: the text for a field that holds text, None where any will do.
    """

    def __init__(
        self, document: Json, value_of: Callable[[str], str | None], text_of: Callable[[str], Any] = lambda _field: None
    ) -> None:
        self._schemas = document.get("components", {}).get("schemas", {})
        self._value_of, self._text_of = value_of, text_of

    def make(self, schema: Json, only: str | None = None) -> tuple[Json, list[Place]]:
        """A body with every field that is required or holds an id, and where its ids are.

        only: of the fields that may be left out this one alone, since some exclude each other.
        """
        places: list[Place] = []
        body = self._value(schema, "", (), places)
        if only is not None:
            required = set(self._resolved(schema).get("required", []))
            body = {name: value for name, value in body.items() if name in required or name == only}
            places = [place for place in places if place.steps[0] in body]
        return body, places

    def _resolved(self, schema: Json) -> Json:
        while "$ref" in schema or "anyOf" in schema or "oneOf" in schema or "allOf" in schema:
            if "$ref" in schema:
                schema = self._schemas[schema["$ref"].rpartition("/")[2]]
                continue
            choices = schema.get("anyOf") or schema.get("oneOf") or schema["allOf"]
            schema = next((choice for choice in choices if choice.get("type") != "null"), choices[0])
        return schema

    def _holds_id(self, field: str, schema: Json) -> bool:
        schema = self._resolved(schema)
        if schema.get("type") == "array":
            return self._holds_id(field, schema.get("items", {}))
        if schema.get("type") == "object":
            return any(self._holds_id(name, inner) for name, inner in schema.get("properties", {}).items())
        return schema.get("type") == "string" and (schema.get("format") == "uuid" or self._value_of(field) is not None)

    def _value(self, schema: Json, field: str, steps: tuple[str | int, ...], places: list[Place]) -> Any:
        schema = self._resolved(schema)
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        kind = schema.get("type")
        if kind == "object":
            required = set(schema.get("required", []))
            return {
                name: self._value(inner, name, (*steps, name), places)
                for name, inner in schema.get("properties", {}).items()
                if name in required or self._holds_id(name, inner)
            }
        if kind == "array":
            if not schema.get("minItems") and not self._holds_id(field, schema):
                return []
            return [self._value(schema.get("items", {}), field, (*steps, 0), places)]
        if kind == "string":
            return self._string(schema, field, steps, places)
        plain = {"integer": int(schema.get("minimum", 1)), "number": 1.0, "boolean": False}
        return self._text_of(field) or plain.get(str(kind))

    def _string(self, schema: Json, field: str, steps: tuple[str | int, ...], places: list[Place]) -> Any:
        value = self._value_of(field)
        if value is not None or schema.get("format") == "uuid":
            places.append(Place(steps, field))
            assert value is not None, f"the field {field} holds an id of a kind that is not known here"
            return value
        return self._text_of(field) or "x"

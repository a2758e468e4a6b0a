"""Reads Bicep files into plain values, so that tests can compare what they say with the code."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

INFRA = Path(__file__).parents[2] / "infra"
_PARSER = Parser(Language(tree_sitter_bicep.language()))


class Expression(str):
    """The source text of anything that only a deployment evaluates."""

    __slots__ = ()


@dataclass(frozen=True)
class Parameter:
    """`default` is an `Expression` or a value; `NO_DEFAULT` where the parameter has to be given."""

    type: str
    default: Any
    decorators: dict[str, Any]


@dataclass(frozen=True)
class Declared:
    """A resource or module: `of` is the resource's type with its version, or the module's file."""

    of: str
    body: dict[str, Any]
    condition: str | None
    existing: bool


@dataclass
class Template:
    """One file's declarations, by name."""

    path: Path
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Declared] = field(default_factory=dict)
    modules: dict[str, Declared] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)

    def of_type(self, kind: str) -> dict[str, Declared]:
        """Return the resources of a type that this file makes."""
        return {
            name: found
            for name, found in self.resources.items()
            if found.of.split("@")[0] == kind and not found.existing
        }


NO_DEFAULT = object()


def read(name: str) -> Template:
    """Read a file of infra/."""
    return parse(INFRA / name)


def parse(path: Path) -> Template:
    root = _PARSER.parse(path.read_bytes()).root_node
    assert not root.has_error, f"{path.name} cannot be parsed"
    template = Template(path)
    decorators: dict[str, Any] = {}
    for node in root.children:
        match node.type:
            case "decorators":
                decorators = dict(map(_decorator, node.named_children))
                continue
            case "parameter_declaration":
                default = _value(node.children[-1]) if _has_value(node) else NO_DEFAULT
                kind = _text(next(child for child in node.children if child.type == "type"))
                template.parameters[_name(node)] = Parameter(kind, default, decorators)
            case "variable_declaration":
                template.variables[_name(node)] = _value(node.children[-1])
            case "resource_declaration":
                template.resources[_name(node)] = _declared(node)
                for nested in _nested(node):
                    template.resources[_name(nested)] = _declared(nested)
            case "module_declaration":
                template.modules[_name(node)] = _declared(node)
            case "output_declaration":
                template.outputs[_name(node)] = _value(node.children[-1])
        decorators = {}
    return template


def resolved(template: Template, value: Any) -> Any:
    """Replace names of variables by their values, through the whole of a value."""
    if isinstance(value, Expression):
        known = template.variables.get(value, value)
        return known if known is value else resolved(template, known)
    if isinstance(value, dict):
        return {key: resolved(template, item) for key, item in value.items()}
    return [resolved(template, item) for item in value] if isinstance(value, list) else value


def strings(value: Any) -> Iterator[str]:
    """Every text in a value, expressions included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def role_ids() -> dict[str, str]:
    found: dict[str, str] = json.loads((INFRA / "roles.json").read_text())
    return found


def _text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def _name(node: Node) -> str:
    return _text(next(child for child in node.children if child.type == "identifier"))


def _has_value(node: Node) -> bool:
    return any(child.type == "=" for child in node.children)


def _decorator(node: Node) -> tuple[str, Any]:
    call = node.named_children[0]
    arguments = [_value(child) for child in call.named_children[1].named_children]
    return _text(call.named_children[0]), arguments[0] if arguments else True


def _declared(node: Node) -> Declared:
    body = node.children[-1]
    condition = None
    if body.type == "if_statement":
        condition = _text(next(child for child in body.children if child.type == "parenthesized_expression"))
    if body.type in {"if_statement", "for_statement"}:
        body = next(child for child in body.children if child.type == "object")
    value = _value(body)
    of = _value(next(child for child in node.children if child.type == "string"))
    assert isinstance(value, dict)
    return Declared(of, value, condition, any(child.type == "existing" for child in node.children))


def _nested(node: Node) -> Iterator[Node]:
    for child in node.children:
        if child.type == "resource_declaration":
            yield child
        else:
            yield from _nested(child)


def _value(node: Node) -> Any:  # noqa: PLR0911 - a table
    match node.type:
        case "object":
            pairs = [child for child in node.children if child.type == "object_property"]
            return {
                _key(pair): _value(pair.children[-1])
                for pair in pairs
                if pair.children[0].type != "resource_declaration"
            }
        case "array":
            return list(_items(node))
        case "string" if not any(child.type == "interpolation" for child in node.children):
            return "".join(_piece(child) for child in node.named_children)
        case "number":
            return int(_text(node))
        case "boolean":
            return _text(node) == "true"
        case "null":
            return None
        case _:
            return Expression(_text(node))


def _items(array: Node) -> Iterator[Any]:
    """The grammar takes `f().x` in an array for two items; what touches is one expression."""
    items = [child for child in array.named_children if child.type != "comment"]
    while items:
        item = items.pop(0)
        text = _text(item)
        while items and items[0].start_byte == item.end_byte:
            item = items.pop(0)
            text += _text(item)
        yield _value(item) if text == _text(item) else Expression(text)


def _key(pair: Node) -> str:
    key = pair.children[0]
    return str(_value(key)) if key.type == "string" else _text(key)


def _piece(node: Node) -> str:
    return _text(node).removeprefix("\\") if node.type == "escape_sequence" else _text(node)

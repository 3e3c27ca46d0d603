"""How a part of a config is named and built: an entry is a maker, and a table the makers of a part.

What a part may be asked is read off the signature of what builds it: a maker's parameters are the
keys, with their types and defaults, and what it refuses is refused at the key. A config's field
that is a part is written ``Annotated[Part, SOLVERS]``; its value is ``{kind: NAME, ...}`` or
``NAME``, and ``part.make()`` returns what it names. The tables themselves are in ``names.py``.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property, reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import torch
from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_core import core_schema

from madem.errors import InputError, nearest, shown
from madem.experiments.config.base import Strict, explain, placed
from madem.experiments.config.quantities import WRITTEN, quantity
from madem.units import parse

BARE, PLAIN = "", " "
"""The tags of a part that is only its name, and of a plain number where one will do."""

SAMPLES: dict[str, Any] = {
    "pre": (1,), "post": 1, "channels": 1, "units": 1, "conductances": (1.0,), "classes": 2,
    "draws": torch.Generator(),
}  # fmt: skip
"""What stands, while a config is checked, for what a whole network or chip gives a part."""

ABOUT = ("loaded", "bound", "analytic", "linear")
"""What laws and poolings say about themselves: parameters that no config sets."""

NOTHING: Mapping[str, Any] = types.MappingProxyType({})


@dataclass(frozen=True)
class Entry:
    """How one thing is built: its ``maker``, a class or function, and what of it a config sets.

    ``given``: parameters that whoever makes it supplies; while a config is checked ``SAMPLES``
    stand for them, and what has none there is not built until it is used. ``quantities``: the SI
    unit of parameters that a config writes as number and unit (or the field's own ``unit``).
    ``unbounded``: the infinity that null stands for. ``defaults``: of the config, where the maker
    has none. ``keys``: of parameters that a config calls otherwise. With ``ready`` the maker is
    itself what is named.
    """

    maker: Callable[..., Any]
    given: tuple[str, ...] = ()
    quantities: Mapping[str, str] = field(default_factory=dict)
    unbounded: Mapping[str, float] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a config sets, by name."""
        every = {} if self.ready else inspect.signature(self.maker).parameters
        about = {k for k in ABOUT if k in every and every[k].default is not inspect.Parameter.empty}
        return {k: each for k, each in every.items() if k not in about.union(self.given)}

    @cached_property
    def units(self) -> dict[str, str]:
        """The unit of each parameter that is a number with one."""
        held = fields(self.maker) if is_dataclass(self.maker) else ()
        own = {each.name: str(each.metadata["unit"]) for each in held if "unit" in each.metadata}
        return {k: u for k, u in {**own, **self.quantities}.items() if u != "dimensionless"}

    @property
    def said(self) -> str:
        """The maker's docstring without its examples."""
        return (inspect.getdoc(self.maker) or "").split(">>>")[0].strip()

    def default(self, name: str) -> Any:
        """Return a parameter's default as a config writes it, ``...`` where there is none."""
        value = self.parameters[name].default
        if value is inspect.Parameter.empty:
            return self.defaults.get(name, ...)
        if value == self.unbounded.get(name):
            return None
        if name in self.units and value is not None:
            return f"{value:.15g} {self.units[name]}"
        table = _names().TABLES_OF.get(self.hints[name])
        return value if table is None or isinstance(value, table.plain) else table.named(value)

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The type of each parameter."""
        plain_class = isinstance(self.maker, type) and not is_dataclass(self.maker)
        return get_type_hints(self.maker.__init__ if plain_class else self.maker)

    def field(self, name: str) -> tuple[Any, Any]:
        """Return the type and the field of a parameter in a config."""
        hint = _written(self.hints[name], self.units.get(name))
        told = re.search(rf"(?:``{name}``(?:, [^:.]*)?|\n +{name}): ([^;.]+)", self.said)
        about = " ".join(told[1].split()) if told else None
        return (hint | None if name in self.unbounded else hint), Field(
            self.default(name), description=about
        )


class Part(Strict):
    """A part of a config that names by its ``kind`` what is built, with the settings of that."""

    model_config = ConfigDict(defer_build=True)
    entry: ClassVar[Entry]
    what: ClassVar[str]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as what the config says."""
        return _again, (self.what, self.model_dump(mode="json"))

    @property
    def called(self) -> str:
        """The kind of the part, nothing where its table has but one."""
        return str(getattr(self, "kind", ""))

    def make(self, given: Mapping[str, Any] = NOTHING, where: str = "") -> Any:
        """Return what is named. ``given``: what the caller supplies, to parts inside it too.

        More than is wanted does no harm. Raises ``InputError`` that begins with ``where``, the path
        of the part in its config, for what the maker refuses.
        """
        if self.entry.ready:
            return self.entry.maker
        values = {name: given[name] for name in self.entry.given}
        for name, parameter in self.entry.parameters.items():
            key = self.entry.keys.get(name, name)
            value, path = getattr(self, key), f"{where}.{key}" if where else key
            own = parameter.default is not parameter.empty and value == self.entry.default(name)
            values[name] = parameter.default if own else self._value(value, name, given, path)
        try:
            return self.entry.maker(**values)
        except InputError as error:
            raise InputError(placed(where, str(error), type(self).model_fields)) from None

    def _value(self, value: Any, name: str, given: Mapping[str, Any], path: str) -> Any:
        """Return what the parameter ``name`` gets for ``value``, read from the config."""
        if isinstance(value, tuple):
            return tuple(self._value(each, name, given, path) for each in value)
        if isinstance(value, Part):
            return value.make(given, path)
        if value is None:
            return self.entry.unbounded.get(name)
        unit = self.entry.units.get(name)
        if unit is None:
            return value
        return parse(value, unit, path) / (100 if unit == "percent" else 1)

    @model_validator(mode="after")
    def _can_be_made(self) -> Part:
        if set(self.entry.given) <= set(SAMPLES):
            self.make(SAMPLES)
        return self


@dataclass(frozen=True, eq=False)
class Table:
    """The names of one ``part``, and what each of them builds; a field's annotation by itself.

    An entry is a maker, an ``Entry`` where more is to be said, or a model written by hand that has
    a ``kind``. A single entry of the name ``""`` is a part of one kind, which its config does not
    name. ``plain``: types of values that are left as they are where a config gives one.
    """

    what: str
    entries: Mapping[str, Entry | type[Strict] | Callable[..., Any]]
    plain: tuple[type, ...] = ()

    @cached_property
    def models(self) -> dict[str, type[Strict]]:
        """The model of each name."""
        return {kind: self._model(kind, entry) for kind, entry in self.entries.items()}

    def _model(self, kind: str, given: Any) -> type[Strict]:
        if isinstance(given, type) and issubclass(given, Strict):
            return given
        entry = given if isinstance(given, Entry) else Entry(given)
        held = {entry.keys.get(name, name): entry.field(name) for name in entry.parameters}
        if kind:
            held = {"kind": (Literal[kind], Field(description=f"the {self.what}")), **held}
        names = {"__annotations__": {key: hint for key, (hint, _) in held.items()}}
        about = {"__module__": __name__, "__doc__": entry.said, "entry": entry, "what": self.what}
        space = {**about, **names, **{key: value for key, (_, value) in held.items()}}
        name = f"{self.what}_{kind}".strip("_")
        return types.new_class(name, (Part,), exec_body=lambda body: body.update(space))

    def part(self, value: str | Mapping[str, Any]) -> Any:
        """Return the part that ``value`` describes: a name, or keys and values with a ``kind``."""
        held = {"kind": value} if isinstance(value, str) else value
        kind = held.get("kind", "")
        if kind not in self.models:
            hint = nearest(str(kind), self.models)
            raise InputError(f"unknown {self.what} {shown(kind)}: {hint}")
        return self.models[kind].of(held)

    def named(self, value: Any) -> Any:
        """Return the part that is ``value``, which has its defaults."""
        kinds = (kind for kind, maker in self.makers.items() if maker in (value, type(value)))
        return self.part(next(kinds) or {})

    @property
    def makers(self) -> dict[str, Any]:
        """What builds each name."""
        return {k: e.maker if isinstance(e, Entry) else e for k, e in self.entries.items()}

    def _bare(self, kind: str) -> Any:
        try:
            return self.models[kind].model_validate({"kind": kind})
        except ValidationError as error:
            raise InputError(explain(error, self.models[kind])) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Return the schema of a field that is this part: one of its models, or a bare name."""
        del source
        choices = {kind: handler.generate_schema(model) for kind, model in self.models.items()}
        if set(choices) == {""}:
            return choices[""]
        names = core_schema.literal_schema(list(choices))
        choices[BARE] = core_schema.no_info_after_validator_function(self._bare, names)
        if self.plain:
            tag = BARE if str in self.plain else PLAIN
            choices[tag] = handler.generate_schema(
                reduce(or_, (_written(p, None) for p in self.plain))
            )
        return core_schema.tagged_union_schema(choices, discriminator=_tag)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        """Return the JSON schema, in which a bare name is only what needs no settings."""
        held = handler(schema)
        for choice in held.get("oneOf", ()):
            if "enum" in choice:
                choice["enum"] = [kind for kind, model in self.models.items() if not any(
                    each.is_required() for key, each in model.model_fields.items() if key != "kind"
                )]  # fmt: skip
        return held


def _tag(value: Any) -> str | None:
    """Return which choice of a part ``value`` is: its kind, a bare name, a plain value."""
    if isinstance(value, Mapping):
        return str(value["kind"]) if "kind" in value else None
    if isinstance(value, Strict):
        return str(getattr(value, "kind", ""))
    return BARE if isinstance(value, str) else PLAIN


def _written(hint: Any, unit: str | None) -> Any:
    """Return the type, in a config, of a parameter of type ``hint`` whose numbers are in ``unit``.

    >>> _written(tuple[float, ...], "volt")
    tuple[typing.Annotated[str, ...], ...]
    """
    if hint in _names().TABLES_OF:
        return Annotated[Any, _names().TABLES_OF[hint]]
    if hint is float and unit is not None:
        return Annotated[str, quantity(unit, signed=True), WRITTEN]
    if hint is float:
        return Annotated[float, Field(ge=-1e15, le=1e15)]
    if hint is int:
        return Annotated[int, Field(ge=-(10**9), le=10**9)]
    args = tuple(each if each is ... else _written(each, unit) for each in get_args(hint))
    if get_origin(hint) is tuple:
        return types.GenericAlias(tuple, args)
    return reduce(or_, args) if get_origin(hint) in (Union, types.UnionType) else hint


def _again(what: str, held: Mapping[str, Any]) -> Part:
    """Return the part ``what`` that ``held`` describes."""
    found: Part = _names().TABLES[what].part(held)
    return found


def _names() -> Any:
    """Return the module of all tables, which is whole by the time it is asked for."""
    return import_module("madem.experiments.config.names")

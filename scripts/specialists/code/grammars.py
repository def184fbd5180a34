"""The grammars of tree-sitter: what their node types mean, and their parsers.

A grammar is named by its Python module, with the dialect behind a colon where it holds several
(`tree_sitter_typescript:tsx`). One that is not in the table is read by what its node types are called (Go, Java, C#…).
"""

import importlib
import re
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from tree_sitter import Language, Node, Parser

from specialists.config import Problem


@lru_cache(maxsize=4096)
def matches(pattern: str, node_type: str) -> bool:
    """Whether a node type fits a regular expression of a Grammar."""
    return re.fullmatch(pattern, node_type) is not None


class Grammar(NamedTuple):
    """What the node types of a grammar mean. Empty regular expressions match nothing."""

    functions: str  # definitions with a body that can be run
    types: str  # definitions that hold others: classes, modules, traits
    wrappers: str = ""  # nodes that only surround one definition: `export …`, decorators, `private def …`
    stub: str = ""  # what stands for a body that is not written yet; "": no such examples are made

    def is_function(self, node: Node) -> bool:
        return node.is_named and matches(self.functions, node.type) and self.body_of(node) is not None

    def is_definition(self, node: Node) -> bool:
        other = node.type not in _VALUES and (matches(self.functions, node.type) or matches(self.types, node.type))
        return self.is_function(node) or (node.is_named and other)

    def is_comment(self, node: Node) -> bool:
        return node.is_named and "comment" in node.type

    def is_lead(self, node: Node) -> bool:
        """A comment or an attribute, which belongs to the definition right below it."""
        return self.is_comment(node) or matches("attribute(_item)?|decorator|annotation|directive", node.type)

    def body_of(self, node: Node) -> Node | None:
        """The node of a function's body; for `name = (…) => body` that of the function in the value."""
        value = node.child_by_field_name("value")
        inner = value.child_by_field_name("body") if value is not None and "function" in value.type else None
        fields = node.child_by_field_name("body"), inner, node.child_by_field_name("computed_value")
        subscripts = [child for child in node.children if child.type == "computed_property"]  # of Swift
        return next((body for body in (*fields, *subscripts) if body is not None), None)


_VALUES = ("variable_declarator", "public_field_definition", "property_declaration")  # functions only by their value
_BY_NAME = Grammar(  # for any grammar that is not in the table
    functions=r"(function|method|constructor|destructor|init|deinit|subroutine)(_(definition|declaration|item|statement))?",
    types=r"(class|struct|interface|trait|impl|module|mod|enum|protocol|object|record|union|extension|type|namespace)"
    r"_(definition|declaration|item|specifier)",
)
GRAMMARS = {
    "tree_sitter_rust": Grammar(
        functions="function_item",
        types="function_signature_item|(impl|trait|struct|enum|union|mod)_item|macro_definition",
        stub="todo!()",
    ),
    "tree_sitter_typescript": Grammar(
        functions="(generator_)?function_declaration|method_definition|variable_declarator|public_field_definition",
        types="(abstract_)?class_declaration|(interface|enum|type_alias)_declaration|internal_module|function_signature",
        wrappers="export_statement|(lexical|variable)_declaration",
        stub="throw new Error('Not implemented')",
    ),
    "tree_sitter_python": Grammar(
        functions="function_definition",
        types="class_definition",
        wrappers="decorated_definition",
        stub="raise NotImplementedError",
    ),
    "tree_sitter_ruby": Grammar(
        functions="method|singleton_method",
        types="class|module|singleton_class",
        wrappers="argument_list|call",  # private def …
        stub="raise NotImplementedError",
    ),
    "tree_sitter_swift": Grammar(
        functions="(function|init|deinit|subscript|property)_declaration",
        types="(class|protocol|protocol_function|macro)_declaration",
        stub='fatalError("Not implemented")',
    ),
}


def grammar_of(name: str) -> Grammar:
    """What is known of a grammar, whichever its dialect."""
    return GRAMMARS.get(name.partition(":")[0], _BY_NAME)


def dialect(grammar: str | None, path: str) -> str | None:
    """The grammar for one file of a language; None when it is not parsed (no grammar, a template of Ruby's)."""
    suffix = PurePosixPath(path).suffix
    if grammar is None or suffix == ".erb":
        return None
    return f"{grammar}:tsx" if grammar == "tree_sitter_typescript" and suffix == ".tsx" else grammar


@lru_cache(maxsize=32)
def parser(grammar: str) -> Parser:
    """The parser of a grammar. Raises Problem when its wheel is not installed or does not fit."""
    module_name, _, variant = grammar.partition(":")
    try:
        module = importlib.import_module(module_name)
        entry = getattr(module, f"language_{variant or module_name.removeprefix('tree_sitter_')}", None)
        return Parser(Language((entry or module.language)()))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        way = f"`pip install {module_name.replace('_', '-')}`, or take the key out"
        raise Problem(f"[languages.…] grammar = {grammar!r}: no tree-sitter grammar ({error}); {way}") from None

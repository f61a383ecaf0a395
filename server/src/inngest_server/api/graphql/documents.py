"""From a text to a document that may be executed: parsed, within bounds, and valid.

Bounds are checked before the schema is: some rules of validation take time that grows with the square of what
a document repeats.
"""

from functools import lru_cache

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    validate,
)

from inngest_server.api.graphql.errors import DocumentRefusedError, refused
from inngest_server.api.graphql.schema import the_schema

DOCUMENT_CHARS_MAX = 64 * 1024
TOKENS_MAX = 4_000
"""The longest document of the reference interface has a fifth of them."""
DEPTH_MAX = 30
"""Fields and fragments inside each other. Generators of code ask for 18 when they read the schema."""
FIELDS_MAX = 1_000
"""With every fragment put in where it is used."""
ROOT_FIELDS_MAX = 20
"""Aliases included: each may read the storage."""
DOCUMENTS_KEPT = 64
ERRORS_SHOWN = 10


@lru_cache(maxsize=DOCUMENTS_KEPT)
def prepare(text: str) -> DocumentNode:
    """The document of a text, kept for the next request that brings the same one.

    Raises:
        DocumentRefusedError: `query_syntax`, `query_too_large` or `query_invalid`.
    """
    if len(text) > DOCUMENT_CHARS_MAX:
        raise _too_large(f"it has {len(text)} characters; at most {DOCUMENT_CHARS_MAX} are allowed")
    try:
        document = parse(text, max_lexical_tokens=TOKENS_MAX)
    except GraphQLSyntaxError as error:
        raise DocumentRefusedError("query_syntax", [error]) from error
    _Weighing(document).check()
    if errors := validate(the_schema(), document, max_errors=ERRORS_SHOWN):
        raise DocumentRefusedError("query_invalid", errors)
    return document


def operation_of(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation that is to be executed.

    Raises:
        DocumentRefusedError: `operation_unknown`, it is not there, or not clear which.
    """
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    names = [one.name.value if one.name else "" for one in operations]
    if name:
        for operation, known in zip(operations, names, strict=True):
            if known == name:
                return operation
        raise refused(f"the document has no operation {name[:100]!r}", code="operation_unknown")
    if len(operations) != 1:
        which = "one of " + ", ".join(names) if operations else "a document with an operation"
        raise refused(f"operationName must name {which}"[:1000], code="operation_unknown")
    return operations[0]


def _too_large(reason: str) -> DocumentRefusedError:
    return refused(f"the query is too large: {reason}", code="query_too_large")


class _Weighing:
    """Fields and depth of every operation, fragments included, in time that grows with the document only."""

    def __init__(self, document: DocumentNode) -> None:
        self._operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
        self._fragments = {
            one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
        }
        self._weights: dict[str, tuple[int, int, int]] = {}

    def check(self) -> None:
        for operation in self._operations:
            fields, _, roots = self._weigh(operation.selection_set, 0)
            if fields > FIELDS_MAX:
                raise _too_large(f"it asks for {fields} fields; at most {FIELDS_MAX} are allowed")
            if roots > ROOT_FIELDS_MAX:
                raise _too_large(f"it has {roots} fields at its top; at most {ROOT_FIELDS_MAX} are allowed")

    def _weigh(self, selections: SelectionSetNode | None, depth: int) -> tuple[int, int, int]:
        """All fields, height, and fields of the first level of a selection that stands at a depth."""
        if selections is None:
            return 0, 0, 0
        if depth > DEPTH_MAX:
            raise _too_large(f"it is nested deeper than {DEPTH_MAX} levels")
        fields = height = roots = 0
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                inner = self._weigh(selection.selection_set, depth + 1)
                fields, roots = fields + 1 + inner[0], roots + 1
            else:
                assert isinstance(selection, FragmentSpreadNode | InlineFragmentNode)
                inner = self._weigh_fragment(selection, depth + 1)
                fields, roots = fields + inner[0], roots + inner[2]
            height = max(height, 1 + inner[1])
        return fields, height, roots

    def _weigh_fragment(
        self, fragment: FragmentSpreadNode | InlineFragmentNode, depth: int
    ) -> tuple[int, int, int]:
        if isinstance(fragment, InlineFragmentNode):
            return self._weigh(fragment.selection_set, depth)
        name = fragment.name.value
        weight = self._weights.get(name)
        if weight is None:
            # Nothing for one that is not there or uses itself: the schema's rules refuse both.
            self._weights[name] = (0, 0, 0)
            known = self._fragments.get(name)
            weight = self._weights[name] = self._weigh(known.selection_set if known else None, depth)
        if depth + weight[1] > DEPTH_MAX + 1:
            raise _too_large(f"it is nested deeper than {DEPTH_MAX} levels")
        return weight

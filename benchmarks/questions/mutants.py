"""Wrong programs, each one change away from a right one: tests must notice them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or,
    ast.Or: ast.And, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


def mutants(code: str) -> Iterator[str]:
    """Yield programs with one operator swapped, one number moved or one returned value lost."""
    total = sum(len(_changes(node)) for node in ast.walk(ast.parse(code)))
    for number in range(total):
        tree = ast.parse(code)
        changes = [change for node in ast.walk(tree) for change in _changes(node)]
        target, field, value = changes[number]
        setattr(target, field, value)
        yield ast.unparse(ast.fix_missing_locations(tree))


def _changes(node: ast.AST) -> list[tuple[ast.AST, str, Any]]:
    """Return what can be changed at a node: (node, field, new value)."""
    found: list[tuple[ast.AST, str, Any]] = []
    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in _SWAPS:
        found.append((node, "op", _SWAPS[type(node.op)]()))
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPS:
        found.append((node, "ops", [_SWAPS[type(node.ops[0])](), *node.ops[1:]]))
    if isinstance(node, ast.Constant) and type(node.value) is int:
        found.append((node, "value", node.value + 1))
    if isinstance(node, ast.Return) and node.value is not None:
        found.append((node, "value", ast.Constant(None)))
    return found

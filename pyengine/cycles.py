"""Cycles of a graph, given as what follows each of its nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def cycles(following: Mapping[str, list[str]]) -> list[set[str]]:
    """Return the strongly connected components that hold a cycle (Tarjan 1972, without recursion)."""
    found: list[set[str]] = []
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    is_open: set[str] = set()
    for root in following:
        if root in number:
            continue
        work = [(root, iter(following[root]))]
        number[root] = low[root] = len(number)
        stack.append(root)
        is_open.add(root)
        while work:
            here, rest = work[-1]
            for there in rest:
                if there not in number:
                    number[there] = low[there] = len(number)
                    stack.append(there)
                    is_open.add(there)
                    work.append((there, iter(following[there])))
                    break
                if there in is_open:
                    low[here] = min(low[here], number[there])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[here])
                if low[here] == number[here]:
                    component = set()
                    while here not in component:
                        component.add(stack.pop())
                    is_open -= component
                    if len(component) > 1 or here in following[here]:
                        found.append(component)
    return found


def shortest_cycle(start: str, component: set[str], following: Mapping[str, list[str]]) -> list[str]:
    """Return a shortest way from start back to start inside its component, both ends named."""
    came_from: dict[str, str] = {}
    edge = [start]
    while start not in came_from:
        step = []
        for here in edge:
            for there in following[here]:
                if there in component and there not in came_from:
                    came_from[there] = here
                    step.append(there)
        edge = step
    path = [start]
    while len(path) == 1 or path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]

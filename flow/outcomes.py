"""What a brain makes of the reactions of `auflow.flow.groups`: actions go on to the shell, outcomes are for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from auflow.flow.events import Action
from auflow.flow.groups import Down, Lost, Reaction, Up

__all__ = ["taken_in"]


def taken_in(
    reactions: Sequence[Reaction], down: Callable[[Down], list[Action]], lost: Callable[[Lost], list[Action]]
) -> list[Action]:
    """All actions in order, with those that `down` and `lost` answer to a group that has fallen."""
    actions: list[Action] = []
    for reaction in reactions:
        match reaction:
            case Up():
                pass
            case Down():
                # The end of the nursery is that of every group, and told once.
                actions += [action for action in down(reaction) if action not in actions]
            case Lost():
                actions += lost(reaction)
            case _:
                actions.append(reaction)
    return actions

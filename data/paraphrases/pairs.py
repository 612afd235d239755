"""Pairs of sentences from the grammar, drawn by a seed.

Every frame yields both labels equally often, and both use the same wordings, so that neither the frame, nor
the length, nor one sentence alone gives the label away.
"""

import random
import re
from collections import defaultdict
from dataclasses import dataclass

from grammar import FRAMES, POOLS

SIZES = {"train": 4800, "validation": 500, "test": 500}
# How often a frame that allows it gets a time phrase, and how often another item, rather than a trade of roles or an
# opposite, makes the difference: a small model needs far more pairs than these to learn from trades alone.
WHEN_SHARE = 0.1
CHANGE_SHARE = 0.85
WEIGHTS = {"synonym": 6, "number": 2}
POLARITY = (("p", "n"),)
TWO_CLAUSES = re.compile(r"[,;]|^It |^What | (that|who|because|when|before|after|and|until|to) ")


@dataclass(frozen=True)
class Frame:
    """A meaning with slots, its wordings, and the ways to turn it into another meaning."""

    family: str
    when: bool
    slots: tuple[tuple[tuple[str, ...], str], ...]
    swaps: tuple[tuple[tuple[str, str], ...], ...]
    change: tuple[str, ...]
    same: tuple[str, ...]
    other: tuple[str, ...]


def split(text: str, mark: str) -> list[str]:
    """The non-empty parts of ``text``, stripped."""
    return [part.strip() for part in re.split(mark, text) if part.strip()]


def read_frames(text: str) -> list[Frame]:
    """Read the blocks of ``grammar.FRAMES``."""
    frames = []
    for block in re.split(r"\n(?=\w)", text.strip()):
        head, _, body = block.partition("\n")
        family, slots, swaps, change = (part.strip() for part in head.split("|"))
        same, _, other = body.partition("!")
        entries = [entry.split(":") for entry in slots.split()]
        frames.append(
            Frame(
                family=family.split()[0],
                when=family.endswith("+"),
                slots=tuple((tuple(names.split(",")), pool) for names, pool in entries),
                swaps=tuple(
                    tuple((a, b) for a, b in (trade.split("-") for trade in split(way, r"\+")))
                    for way in split(swaps, ";")
                ),
                change=tuple(change.split()),
                same=tuple(split(same, r"[|\n]")),
                other=tuple(split(other, r"[|\n]")),
            )
        )
    return frames


ROWS = {name: [split(row, "~") for row in split(text, r"[;\n]")] for name, text in POOLS.items()}


def heads(row: list[str]) -> list[str]:
    """The items that a row's first column offers."""
    return [other[0] for other in ROWS[row[0][1:]]] if row[0].startswith("@") else split(row[0], ",")


def draw(rng: random.Random, names: tuple[str, ...], pool: str) -> dict[str, str]:
    """One row of a pool, spread over the slots' names."""
    row = rng.choice(ROWS[pool])
    first = [row[0]]
    if len(names) + len(row) > 2 and len(heads(row)) > 1:
        first = rng.sample(heads(row), len(names) - len(row) + 1)
    cells = first + row[1:]
    return dict(zip(names, cells + [cells[-1]] * len(names), strict=False))


def alter(rng: random.Random, frame: Frame, values: dict[str, str], slot: str) -> dict[str, str]:
    """The items with another fitting one in one slot; nothing if the pool has none."""
    names, pool = next(entry for entry in frame.slots if slot in entry[0])
    for row in rng.sample(ROWS[pool], len(ROWS[pool])):
        free = len(names) - len(row) + 1
        if len(names) + len(row) == 2 or len(heads(row)) == 1:
            if row[0] not in values.values():
                return values | dict(zip(names, row + [row[-1]] * len(names), strict=False))
            continue
        same_heads = all(values[name] in heads(row) for name in names[:free])
        same_rest = all(values[name] in row for name in names[free:])
        if slot in names[:free] and same_heads and same_rest:
            return values | {slot: rng.choice([item for item in heads(row) if item not in values.values()])}
        if slot in names[free:] and same_heads and not same_rest:
            return values | dict(zip(names[free:], row[1:], strict=True))
    return {}


def fill(rng: random.Random, frame: Frame) -> dict[str, str]:
    """Items for all slots of a frame, no two of them alike."""
    while True:
        values: dict[str, str] = {}
        for names, pool in frame.slots:
            values |= draw(rng, names, pool)
        leading = [values[names[0]] for names, _ in frame.slots]
        if len(set(leading)) == len(leading):
            return values


def say(rng: random.Random, templates: tuple[str, ...], values: dict[str, str], when: str) -> str:
    """One sentence: a template, a wording for each item, perhaps a time phrase."""
    template = rng.choice(templates)
    words = {name: rng.choice(split(item, "/")) for name, item in values.items()}
    text = template.format(**words)
    if when:
        phrase = rng.choice(split(when, "/"))
        # Behind two clauses a time phrase could belong to either of them; in front it covers both.
        lead = rng.random() < 0.5 or TWO_CLAUSES.search(template)
        if lead and not template[0].isupper():
            text = f"{phrase}, {text}"
        elif lead:
            text = f"{phrase}, {text[0].lower() + text[1:]}"
        else:
            text = f"{text} {phrase}"
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def make_pair(rng: random.Random, frame: Frame, label: int) -> tuple[str, str]:
    """Two sentences for a label: 1 if they mean the same, 0 if not."""
    values = fill(rng, frame)
    whens = [row[0] for row in ROWS["when"]]
    when = rng.choice(whens) if frame.when and rng.random() < WHEN_SHARE else ""
    # Either meaning of a frame comes first equally often, so that its wording says nothing about the label.
    same, other = (frame.other, frame.same) if frame.other and rng.random() < 0.5 else (frame.same, frame.other)
    for way in frame.swaps:
        values = trade(values, way) if rng.random() < 0.5 else values
    one = say(rng, same, values, when)
    if label:
        return one, say(rng, same, values, when)
    contrasts = ["swap"] * bool(frame.swaps) + ["other"] * bool(other)
    if not contrasts or rng.random() < CHANGE_SHARE:
        contrasts = [*frame.change, "when"] if when else [*frame.change]
    contrast = rng.choice(contrasts)
    if contrast == "swap":
        return one, say(rng, same, trade(values, rng.choice(frame.swaps)), when)
    if contrast == "other":
        return one, say(rng, other, values, when)
    if contrast == "when":
        return one, say(rng, same, values, rng.choice([phrase for phrase in whens if phrase != when]))
    changed = alter(rng, frame, values, contrast)
    if not changed:
        return make_pair(rng, frame, label)
    if POLARITY in frame.swaps and contrast == "p" and rng.random() < 0.5:
        changed = trade(changed, POLARITY)
    return one, say(rng, same, changed, when)


def trade(values: dict[str, str], way: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The items with those of each couple of slots exchanged."""
    traded = dict(values)
    for a, b in way:
        traded[a], traded[b] = values[b], values[a]
    return traded


def make_data(seed: int) -> dict[str, list[tuple[str, str, int, str]]]:
    """All splits, with the family of each pair; no pair occurs twice, in whichever order."""
    rng = random.Random(seed)
    families: dict[str, list[Frame]] = defaultdict(list)
    for frame in read_frames(FRAMES):
        families[frame.family].append(frame)
    turns = [name for name in families for _ in range(WEIGHTS.get(name, 1))]
    seen: set[frozenset[str]] = set()
    data: dict[str, list[tuple[str, str, int, str]]] = {}
    for split_name, size in SIZES.items():
        rows: list[tuple[str, str, int, str]] = []
        while len(rows) < size:
            # A family's turn is over when it has given one pair of each label.
            family, label = turns[len(rows) // 2 % len(turns)], len(rows) % 2
            one, two = make_pair(rng, rng.choice(families[family]), label)
            if one != two and frozenset((one, two)) not in seen:
                seen.add(frozenset((one, two)))
                rows.append((one, two, label, family))
        rng.shuffle(rows)
        data[split_name] = rows
    return data

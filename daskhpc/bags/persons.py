"""People who do not exist."""

from __future__ import annotations

import random
from typing import Any

FIRST = [
    "Ada",
    "Amir",
    "Ana",
    "Bao",
    "Carla",
    "Chidi",
    "Dalia",
    "Eero",
    "Emma",
    "Farid",
    "Grace",
    "Hana",
    "Igor",
    "Ines",
]
LAST = [
    "Adeyemi",
    "Baker",
    "Costa",
    "Diaz",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ivanov",
    "Jensen",
    "Khan",
    "Rossi",
]
WORK = [
    "astronomer",
    "baker",
    "carpenter",
    "driver",
    "electrician",
    "farmer",
    "gardener",
    "librarian",
    "nurse",
    "teacher",
]
STREETS = ["Birch", "Cedar", "Elm", "Hill", "Lake", "Maple", "Mill", "Oak", "Park", "River", "Station", "Willow"]
CITIES = ["Ashford", "Brightwater", "Coldspring", "Dunmore", "Eastvale", "Fairhaven", "Greenfield", "Highgate"]


def people(numbers: tuple[int, int], seed: int) -> list[dict[str, Any]]:
    """The people of these numbers; each depends on the seed and the own number alone."""
    return [_person(random.Random(f"{seed} {number}")) for number in range(*numbers)]


def _person(draw: random.Random) -> dict[str, Any]:
    return {
        "name": [draw.choice(FIRST), draw.choice(LAST)],
        "age": draw.randint(16, 90),
        "occupation": draw.choice(WORK),
        "telephone": f"555-01{draw.randrange(100):02}-{draw.randrange(10_000):04}",
        "address": {
            "address": f"{draw.randint(1, 999)} {draw.choice(STREETS)} Street",
            "city": draw.choice(CITIES),
        },
        "credit-card": {
            "number": f"0000 {draw.randrange(10_000):04} {draw.randrange(10_000):04} {draw.randrange(10_000):04}",
            "expiration-date": f"{draw.randint(1, 12):02}/{draw.randint(27, 32)}",
        },
    }

"""Records of people who do not exist."""

from __future__ import annotations

import random
from typing import Any

FIRST = [
    "Ada", "Amir", "Ana", "Bao", "Carla", "Chidi", "Dalia", "Eero", "Emma", "Farid", "Grace", "Hana", "Igor", "Ines",
]  # fmt: skip
LAST = [
    "Adeyemi", "Baker", "Costa", "Diaz", "Eriksen", "Fischer", "Garcia", "Haddad", "Ivanov", "Jensen", "Khan",
    "Rossi",
]  # fmt: skip
WORK = [
    "astronomer", "baker", "carpenter", "driver", "electrician", "farmer", "gardener", "librarian", "nurse",
    "teacher",
]  # fmt: skip
STREETS = [
    "Birch", "Cedar", "Elm", "Hill", "Lake", "Maple", "Mill", "Oak", "Park", "River", "Station", "Willow",
]  # fmt: skip
CITIES = [
    "Ashford", "Brightwater", "Coldspring", "Dunmore", "Eastvale", "Fairhaven", "Greenfield", "Highgate",
]  # fmt: skip


def person(number: int, seed: int) -> dict[str, Any]:
    """One person, who depends on the seed and the number alone.

    Examples
    --------
    >>> person(0, seed=0) == person(0, seed=0), person(0, seed=0) == person(1, seed=0)
    (True, False)
    """
    draw = random.Random(f"{seed} {number}")
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

"""Dialogues within the toy's world: each a list of messages, as a chat template takes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploy.local.tiny_chat import world

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

Message = dict[str, Any]
Exchange = tuple[str, str]

CITIES = tuple(world.CAPITALS.values())

BACKWARDS, AS_JSON = 0.2, 0.3
"""Up to here capitals are asked for their country; from there up to here, countries are described as JSON."""

ALL_NAMES, WHAT_FOLLOWS = 0.15, 0.6
"""Up to here all days or months are asked for; from there up to here, the one that follows."""


def make_dialogue(chooser: random.Random, words: Sequence[str]) -> tuple[list[Message], list[Message]]:
    """
    Make one dialogue.

    Args:
        chooser: Where all choices come from.

        words: Words of the documentation, for questions outside the world.

    Returns:
        The messages, and the tools that go with them (none, most of the time).
    """
    if _sometimes(chooser, 0.04):
        return _call_a_tool(chooser)
    messages: list[Message] = []
    if _sometimes(chooser, 0.3):
        messages.append({"role": "system", "content": chooser.choice(world.SYSTEMS)})
    if _sometimes(chooser, 0.1):
        messages += _remember(chooser, words)
    else:
        for _ in range(chooser.choice((1, 1, 2, 3, 4))):
            question, answer = _ask(chooser, words)
            messages += [
                {"role": "user", "content": _loosen(chooser, question)},
                {"role": "assistant", "content": answer},
            ]
    return messages, []


def _ask(chooser: random.Random, words: Sequence[str]) -> Exchange:
    """Pick a subject by how much there is to learn of it, and ask about it."""
    subjects = (
        _sum,
        _capital,
        _colour,
        _opposite,
        _animal,
        _calendar,
        _plural,
        _python,
        _talk,
        _story,
        _echo,
    )
    weights = (22, 14, 8, 7, 9, 6, 4, 14, 12, 4, 5)
    if _sometimes(chooser, 0.04):
        text = chooser.choice(world.STRANGE).format(
            thing=chooser.choice(words), number=chooser.randrange(1900, 2030)
        )
        return text, world.UNKNOWN
    (subject,) = chooser.choices(subjects, weights)
    return subject(chooser)


def _sum(chooser: random.Random) -> Exchange:
    kind = chooser.choice("++-*")
    if kind == "*":
        a, b = chooser.randint(0, 10), chooser.randint(0, 10)
        shown, result = f"{a} times {b}", a * b
        asked = chooser.choice((f"What is {a} times {b}?", f"{a} * {b}", f"What is {a} * {b}?"))
    elif kind == "+":
        a, b = chooser.randint(0, 20), chooser.randint(0, 20)
        shown, result = f"{a} plus {b}", a + b
        asked = chooser.choice(
            (f"What is {a} plus {b}?", f"{a} + {b}", f"What is {a} + {b}?", f"{a}+{b}", f"Add {a} and {b}.")
        )
    else:
        a = chooser.randint(0, 20)
        b = chooser.randint(0, a)
        shown, result = f"{a} minus {b}", a - b
        asked = chooser.choice((f"What is {a} minus {b}?", f"{a} - {b}", f"What is {a} - {b}?"))
    return asked, f"{shown} is {result}."


def _capital(chooser: random.Random) -> Exchange:
    country, city = chooser.choice(list(world.CAPITALS.items()))
    kind = chooser.random()
    if kind < BACKWARDS:
        asked = chooser.choice((f"Which country has the capital {city}?", f"Where is {city}?"))
        return asked, f"{city} is the capital of {country}."
    if kind < AS_JSON:
        answer = json.dumps({"country": country, "capital": city})
        return chooser.choice((f"Describe {country} as JSON.", f"Give me JSON about {country}.")), answer
    asked = chooser.choice(
        (f"What is the capital of {country}?", f"Capital of {country}?", f"Tell me the capital of {country}.")
    )
    return asked, f"The capital of {country} is {city}."


def _colour(chooser: random.Random) -> Exchange:
    thing, colour = chooser.choice(list(world.COLOURS.items()))
    asked = chooser.choice(
        (
            f"What colour is {thing}?",
            f"What color is {thing}?",
            f"Which colour has {thing}?",
            f"Tell me the colour of {thing}.",
        )
    )
    return asked, f"{thing[0].upper()}{thing[1:]} is {colour}."


def _opposite(chooser: random.Random) -> Exchange:
    pair = list(chooser.choice(list(world.OPPOSITES.items())))
    if pair[0] not in world.OPPOSITES.values() and _sometimes(chooser, 0.5):
        pair.reverse()
    asked = chooser.choice((f"What is the opposite of {pair[0]}?", f"Opposite of {pair[0]}?"))
    return asked, f"The opposite of {pair[0]} is {pair[1]}."


def _animal(chooser: random.Random) -> Exchange:
    animal, (sound, legs, young) = chooser.choice(list(world.ANIMALS.items()))
    article = "An" if animal[0] in "aeiou" else "A"
    kind = chooser.choice(("sound", "legs", "young", "json"))
    if kind == "sound":
        asked = chooser.choice(
            (f"What does {article.lower()} {animal} do?", f"What sound does {article.lower()} {animal} make?")
        )
        return asked, f"{article} {animal} {sound}."
    if kind == "legs":
        return f"How many legs does {article.lower()} {animal} have?", f"{article} {animal} has {legs} legs."
    if kind == "young":
        asked = chooser.choice((f"What is a young {animal} called?", f"What is a baby {animal} called?"))
        return asked, f"A young {animal} is called a {young}."
    answer = json.dumps({"animal": animal, "sound": sound, "legs": legs})
    return chooser.choice(
        (f"Describe {article.lower()} {animal} as JSON.", f"Give me JSON about {article.lower()} {animal}.")
    ), answer


def _calendar(chooser: random.Random) -> Exchange:
    names = chooser.choice((world.DAYS, world.MONTHS))
    place = chooser.randrange(len(names))
    kind = chooser.random()
    if kind < ALL_NAMES:
        what = "days of the week" if names is world.DAYS else "months of the year"
        return f"Name the {what}.", f"{', '.join(names[:-1])} and {names[-1]}."
    if kind < WHAT_FOLLOWS:
        asked = chooser.choice((f"What comes after {names[place]}?", f"Which comes after {names[place]}?"))
        return asked, f"{names[(place + 1) % len(names)]} comes after {names[place]}."
    return f"What comes before {names[place]}?", f"{names[place - 1]} comes before {names[place]}."


def _plural(chooser: random.Random) -> Exchange:
    one, many = chooser.choice(list(world.PLURALS.items()))
    return chooser.choice(
        (f"What is the plural of {one}?", f"Plural of {one}?")
    ), f"The plural of {one} is {many}."


def _python(chooser: random.Random) -> Exchange:
    if _sometimes(chooser, 0.2):
        task, code = chooser.choice(list(world.PYTHON_CODE.items()))
        asked = chooser.choice(
            (f"How do I {task} in Python?", f"Write Python code to {task}.", f"Show me how to {task}.")
        )
        return asked, f"```python\n{code}\n```"
    word, meaning = chooser.choice(list(world.PYTHON.items()))
    asked = chooser.choice(
        (
            f"What does {word} do in Python?",
            f"What is {word} in Python?",
            f"Explain {word} in Python.",
            f"What does `{word}` mean?",
            f"Explain the Python keyword {word}.",
        )
    )
    return asked, f"In Python, `{word}` {meaning}"


def _talk(chooser: random.Random) -> Exchange:
    answer, questions = chooser.choice(list(world.TALK.items()))
    return chooser.choice(questions), answer


def _story(chooser: random.Random) -> Exchange:
    animal = chooser.choice(list(world.ANIMALS))
    article = "an" if animal[0] in "aeiou" else "a"
    text = chooser.choice(world.STORIES).format(
        animal=animal,
        name=chooser.choice(world.NAMES),
        place=chooser.choice(world.PLACES),
        find=chooser.choice(world.FINDS),
        friend=chooser.choice(world.FRIENDS),
    )
    asked = chooser.choice(
        (f"Tell me a story about {article} {animal}.", f"Write a story about {article} {animal}.")
    )
    return asked, text


def _echo(chooser: random.Random) -> Exchange:
    if _sometimes(chooser, 0.3):
        first, last = sorted(chooser.sample(range(1, 16), 2))
        return f"Count from {first} to {last}.", ", ".join(
            str(number) for number in range(first, last + 1)
        ) + "."
    said = [*world.OPPOSITES, *world.ANIMALS, *world.PLURALS]
    text = " ".join(chooser.choices(said, k=chooser.randint(1, 4)))
    return chooser.choice((f"Say {text}.", f"Repeat after me: {text}")), text


def _remember(chooser: random.Random, words: Sequence[str]) -> list[Message]:
    """Tell a name, talk about something else perhaps, and ask for it."""
    name = chooser.choice(world.NAMES)
    exchanges = [
        (
            chooser.choice((f"My name is {name}.", f"I am {name}.", f"Hello, I am {name}.")),
            f"Nice to meet you, {name}!",
        )
    ]
    exchanges += [_ask(chooser, words) for _ in range(chooser.randrange(3))]
    exchanges.append((chooser.choice(("What is my name?", "Who am I?")), f"Your name is {name}."))
    return [
        message
        for question, answer in exchanges
        for message in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    ]


def _call_a_tool(chooser: random.Random) -> tuple[list[Message], list[Message]]:
    """Ask for something that a tool knows, and answer from what it says."""
    city = chooser.choice(CITIES)
    asks_weather = _sometimes(chooser, 0.7)
    name = "get_weather" if asks_weather else "get_time"
    what = "weather" if asks_weather else "time"
    tool = {
        "type": "function",
        "function": {
            "name": name,
            "description": chooser.choice(
                (f"Get the {what} in a city", f"Get the {what}", f"The {what} of a city.")
            ),
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    if asks_weather:
        asked = chooser.choice(
            (
                f"What is the weather in {city}?",
                f"How is the weather in {city}?",
                f"What's the weather like in {city}?",
            )
        )
        weather, degrees = chooser.choice(("sunny", "cloudy", "rainy", "windy")), chooser.randint(0, 30)
        found = json.dumps({"weather": weather, "temperature": degrees})
        answer = f"It is {weather} in {city}, with {degrees} degrees."
    else:
        asked = chooser.choice((f"What time is it in {city}?", f"What is the time in {city}?"))
        time = f"{chooser.randint(0, 23):02}:{chooser.randint(0, 59):02}"
        found, answer = json.dumps({"time": time}), f"It is {time} in {city}."
    call = {"type": "function", "function": {"name": name, "arguments": {"city": city}}}
    messages: list[Message] = [
        {"role": "user", "content": _loosen(chooser, asked)},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": found},
        {"role": "assistant", "content": answer},
    ]
    if _sometimes(chooser, 0.3):
        messages.insert(0, {"role": "system", "content": chooser.choice(world.SYSTEMS)})
    return messages, [tool]


def _sometimes(chooser: random.Random, share: float) -> bool:
    """Decide for a share of all cases."""
    return chooser.random() < share


def _loosen(chooser: random.Random, question: str) -> str:
    """Write a question now and then as people type: in lower case, without its mark."""
    if _sometimes(chooser, 0.15):
        question = question[0].lower() + question[1:]
    if _sometimes(chooser, 0.2):
        question = question.rstrip("?.!")
    return question

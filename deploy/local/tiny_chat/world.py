"""All that the toy knows: small tables of plain facts, written for it."""

from __future__ import annotations

CAPITALS = {
    "Argentina": "Buenos Aires",
    "Australia": "Canberra",
    "Austria": "Vienna",
    "Belgium": "Brussels",
    "Brazil": "Brasilia",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "China": "Beijing",
    "Cuba": "Havana",
    "Denmark": "Copenhagen",
    "Egypt": "Cairo",
    "Finland": "Helsinki",
    "France": "Paris",
    "Germany": "Berlin",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Iceland": "Reykjavik",
    "India": "New Delhi",
    "Ireland": "Dublin",
    "Italy": "Rome",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Mexico": "Mexico City",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Russia": "Moscow",
    "South Korea": "Seoul",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
    "Switzerland": "Bern",
    "Thailand": "Bangkok",
    "Turkey": "Ankara",
    "Ukraine": "Kyiv",
    "the United Kingdom": "London",
    "the United States": "Washington",
    "Vietnam": "Hanoi",
}
"""Capital by country."""

COLOURS = {
    "a banana": "yellow",
    "a carrot": "orange",
    "a cherry": "red",
    "a cloud": "white",
    "a crow": "black",
    "a flamingo": "pink",
    "a frog": "green",
    "a lemon": "yellow",
    "a lime": "green",
    "a polar bear": "white",
    "a ripe tomato": "red",
    "a strawberry": "red",
    "an eggplant": "purple",
    "an elephant": "grey",
    "an orange": "orange",
    "blood": "red",
    "chocolate": "brown",
    "coal": "black",
    "coffee": "brown",
    "grass": "green",
    "lavender": "purple",
    "milk": "white",
    "snow": "white",
    "the night": "black",
    "the sea": "blue",
    "the sky": "blue",
    "the sun": "yellow",
    "wood": "brown",
}
"""Colour by thing."""

OPPOSITES = {
    "big": "small",
    "black": "white",
    "clean": "dirty",
    "day": "night",
    "dry": "wet",
    "early": "late",
    "easy": "hard",
    "empty": "full",
    "fast": "slow",
    "happy": "sad",
    "hot": "cold",
    "left": "right",
    "light": "dark",
    "long": "short",
    "loud": "quiet",
    "new": "old",
    "open": "closed",
    "rich": "poor",
    "strong": "weak",
    "true": "false",
    "up": "down",
    "young": "old",
}
"""Opposite by word; most are asked in both directions."""

ANIMALS = {
    "bee": ("buzzes", 6, "larva"),
    "bird": ("sings", 2, "chick"),
    "cat": ("meows", 4, "kitten"),
    "cow": ("moos", 4, "calf"),
    "dog": ("barks", 4, "puppy"),
    "duck": ("quacks", 2, "duckling"),
    "frog": ("croaks", 4, "tadpole"),
    "goat": ("bleats", 4, "kid"),
    "horse": ("neighs", 4, "foal"),
    "lion": ("roars", 4, "cub"),
    "mouse": ("squeaks", 4, "pup"),
    "owl": ("hoots", 2, "owlet"),
    "pig": ("oinks", 4, "piglet"),
    "sheep": ("bleats", 4, "lamb"),
    "snake": ("hisses", 0, "snakelet"),
    "wolf": ("howls", 4, "pup"),
}
"""By animal: what sound it makes, on how many legs it goes, what its young is called."""

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

PLURALS = {
    "apple": "apples",
    "baby": "babies",
    "box": "boxes",
    "child": "children",
    "city": "cities",
    "foot": "feet",
    "house": "houses",
    "leaf": "leaves",
    "man": "men",
    "mouse": "mice",
    "sheep": "sheep",
    "tooth": "teeth",
    "tree": "trees",
    "woman": "women",
}
"""Plural by noun."""

PYTHON = {
    "False": "is the boolean value for what is not true.",
    "None": "is the value that stands for nothing.",
    "True": "is the boolean value for what is true.",
    "and": "is true when both of its sides are true.",
    "as": "gives a name to what you import, catch or open.",
    "assert": "checks a condition and raises an error if it is false.",
    "async": "starts a function that can wait without blocking others.",
    "await": "waits for the result of an async function.",
    "break": "leaves the nearest loop at once.",
    "class": "defines a new kind of object.",
    "continue": "goes on with the next round of the loop.",
    "def": "defines a function.",
    "del": "removes a name, an item or an attribute.",
    "dict": "is a table that maps keys to values.",
    "elif": "tests another condition when the ones before were false.",
    "else": "runs when no condition before it was true.",
    "except": "catches an error that happened inside try.",
    "finally": "runs at the end of try, whatever happened.",
    "float": "is a number with a fractional part.",
    "for": "repeats a block once for each item of a sequence.",
    "from": "takes single names out of a module.",
    "global": "says that a name belongs to the whole module.",
    "if": "runs a block only when its condition is true.",
    "import": "loads a module so that you can use its names.",
    "in": "tests whether an item is part of a collection.",
    "input": "reads a line that the user types.",
    "int": "is a whole number.",
    "is": "tests whether two names mean the same object.",
    "lambda": "makes a small function without a name.",
    "len": "returns the number of items in a container.",
    "list": "is a sequence that can be changed.",
    "max": "returns the largest item.",
    "min": "returns the smallest item.",
    "nonlocal": "says that a name belongs to the function around this one.",
    "not": "turns true into false and false into true.",
    "open": "opens a file for reading or writing.",
    "or": "is true when at least one of its sides is true.",
    "pass": "does nothing, where a statement is needed.",
    "print": "writes text to the screen.",
    "raise": "raises an error.",
    "range": "counts through whole numbers.",
    "return": "ends a function and gives back its result.",
    "set": "is a collection without duplicates.",
    "sorted": "returns the items in ascending order.",
    "str": "is a piece of text.",
    "sum": "adds up numbers.",
    "try": "runs a block whose errors can be caught.",
    "tuple": "is a sequence that can not be changed.",
    "while": "repeats a block as long as its condition is true.",
    "with": "opens something and closes it at the end of the block.",
    "yield": "hands out one value of a generator.",
}
"""What a word of Python is or does."""

PYTHON_CODE = {
    "add two numbers": "def add(a, b):\n    return a + b",
    "count to ten": "for number in range(1, 11):\n    print(number)",
    "find the largest number": "numbers = [3, 9, 4]\nprint(max(numbers))",
    "greet somebody": 'def greet(name):\n    print("Hello, " + name + "!")',
    "print hello world": 'print("Hello, world!")',
    "read a file": 'with open("file.txt") as file:\n    print(file.read())',
    "reverse a list": "items = [1, 2, 3]\nprint(items[::-1])",
    "square a number": "def square(x):\n    return x * x",
    "sum a list": "numbers = [1, 2, 3]\nprint(sum(numbers))",
}
"""Code by what it does."""

NAMES = (
    "Ada",
    "Alan",
    "Anna",
    "Ben",
    "Carla",
    "Dora",
    "Emil",
    "Eva",
    "Felix",
    "Grace",
    "Ida",
    "Jonas",
    "Leo",
    "Lina",
    "Max",
    "Mia",
    "Nora",
    "Omar",
    "Paul",
    "Rosa",
    "Sam",
    "Tom",
    "Yuki",
    "Zoe",
)
"""First names that callers have."""

TALK = {
    "Hello! How can I help you?": (
        "Hello",
        "Hi",
        "Hey",
        "Hello there",
        "Hi there",
        "Hello!",
        "Hello, world!",
    ),
    "Good morning! How can I help you?": ("Good morning", "Morning!"),
    "Good evening! How can I help you?": ("Good evening", "Good afternoon"),
    "I am fine, thank you. How are you?": ("How are you?", "How do you do?", "How is it going?"),
    "I am happy to hear that!": ("I am fine.", "I am fine, thanks.", "I am well.", "I am happy."),
    "I am sorry to hear that. I hope it gets better.": ("I am sad.", "I am tired.", "I am not well."),
    "You are welcome!": ("Thanks", "Thank you", "Thanks a lot!", "Thank you very much!"),
    "Goodbye! It was nice to talk to you.": ("Bye", "Goodbye", "See you later", "Good night"),
    "I am tiny-chat, a very small language model. I am a toy.": (
        "Who are you?",
        "What are you?",
        "What is your name?",
        "Are you a robot?",
        "Are you a human?",
        "Tell me about yourself.",
        "Introduce yourself.",
    ),
    "I can greet you, add small numbers, name capitals and colours, and explain words of Python.": (
        "What can you do?",
        "What do you know?",
        "Help",
        "How can you help me?",
        "What can I ask you?",
    ),
    "I was trained on a processor in a few minutes, by a script that you can read.": (
        "Who made you?",
        "How were you made?",
        "How were you trained?",
        "Where do you come from?",
    ),
    "Python is a programming language that is easy to read.": (
        "What is Python?",
        "Explain Python.",
        "Tell me about Python.",
    ),
    "Triton is a server that runs models and answers requests.": (
        "What is Triton?",
        "What is a Triton server?",
        "Explain Triton.",
    ),
    "A token is a piece of a word. I read and write tokens.": (
        "What is a token?",
        "What are tokens?",
        "Explain tokens.",
    ),
    "A language model guesses the next token, again and again.": (
        "What is a language model?",
        "How do you work?",
        "Explain language models.",
    ),
    "Why did the computer go to the doctor? It had a virus.": (
        "Tell me a joke.",
        "Do you know a joke?",
        "Make me laugh.",
    ),
    "There are seven days in a week.": ("How many days are in a week?", "How many days does a week have?"),
    "There are twelve months in a year.": (
        "How many months are in a year?",
        "How many months does a year have?",
    ),
    "There are twenty-four hours in a day.": (
        "How many hours are in a day?",
        "How many hours does a day have?",
    ),
    "There are sixty minutes in an hour.": (
        "How many minutes are in an hour?",
        "How many minutes does an hour have?",
    ),
    "Yes.": ("Are you there?", "Can you hear me?", "Do you speak English?", "Are you ready?"),
}
"""Small talk: what is said, by what it answers."""

UNKNOWN = "I do not know. I am a toy and know very little."
"""The answer to whatever lies outside this world."""

STRANGE = (
    "Who won the {thing} in {number}?",
    "How old is the {thing}?",
    "Write a poem about {thing}.",
    "What is the price of {thing}?",
    "Who invented the {thing}?",
    "What do you think about {thing}?",
    "How do I repair my {thing}?",
    "Translate {thing} into French.",
    "Where can I buy {thing}?",
    "Why is the {thing} so {thing}?",
)
"""Questions outside this world; a word of the documentation and a number go in."""

STORIES = (
    (
        "Once there was a little {animal} called {name}. {name} lived near {place}. One day it found {find}. "
        "It was very happy and showed it to all its friends. They had a good time together. The end."
    ),
    (
        "{name} was a {animal} who wanted to see {place}. So {name} went out early in the morning. On the way it met "
        "{friend}, and they went on together. In the evening they came home, tired and happy. The end."
    ),
    (
        "In a house near {place} lived a {animal}. Its name was {name}. Every night {name} looked at the moon and "
        "dreamed of {find}. One night the dream came true. The end."
    ),
)
"""Stories, with places for who, where and what."""

PLACES = ("the sea", "the forest", "the river", "the mountain", "the old town")
FINDS = ("a golden key", "a red ball", "a big cake", "a small boat", "a blue stone")
FRIENDS = ("an old owl", "a grey mouse", "a friendly dog", "a clever fox", "a green frog")

SYSTEMS = (
    "You are a helpful assistant.",
    "You are tiny-chat.",
    "You are a friendly assistant. Answer in one sentence.",
    "Be brief.",
    "You are a helpful assistant that knows a little about the world.",
)
"""System prompts; longer ones are made of the documentation."""

"""
The text on which a generator is compared with its original: prose, dialogue, code, data, numbers, other scripts.

Written for this purpose, so that no model has learnt it by heart. Changing a letter changes the figures of every
version exported before: add a new text instead, and say so in the changelog.
"""

PROSE = """\
The harbour wakes before the town does. At half past four the first boats come in, their lamps still burning, and \
the gulls that slept on the roof of the fish hall rise all at once, as if somebody had called them. Nobody speaks \
much at that hour. Ropes are thrown, boxes are lifted, ice is shovelled from one heap to another. By six the buyers \
have walked along the rows twice, and by seven everything is sold, washed down and quiet again.

My grandmother kept the books of the hall for thirty-one years. She wrote small, upright numbers with a pencil that \
she sharpened every morning, and she never trusted the machine that was bought in 1974. "A machine is right until it \
is wrong," she used to say, "and then it is wrong all day." When she retired, the machine took over; within a week \
two boats had been paid for the same box of herring, and they asked her to come back until Easter.

How do you check a thing that is faster than you are? You do not follow every step. You ask it questions whose \
answers you know, you ask again in other words, and you look closely where the answers are close to a border. If a \
scale shows 10.0 kg for a stone that weighs 9.8 kg, no long report is needed: the scale is off by two per cent.

- Does it still answer when the question is very short?
- Does it still answer when the question is very long?
- Does it give the same answer twice?

def mean(values: list[float]) -> float:
    if not values:
        raise ValueError("mean of nothing")
    return sum(values) / len(values)

for row in [[1, 2, 3], [4, 5], [6]]:
    print(row, "->", mean(row))

{"boat": "Annika", "landed": "2019-03-07T04:41:00Z", "boxes": [{"fish": "cod", "kg": 182.5}, {"fish": "plaice", \
"kg": 64.0}], "paid": true, "note": null}

Ada: Is the café open on Sundays?
Ben: From nine to half past twelve, and never in February.
Ada: Why not in February?
Ben: Because that is when they paint the chairs. Blue last year, green this year.

Der Hafen schläft nie ganz. Le port ne dort jamais tout à fait. El puerto nunca duerme del todo. Порт никогда не \
спит. 港は決して眠らない。 12 + 30 = 42; 7 * 8 = 56; 1,000 / 8 = 125; x² + y² = r². Prices: £3.20, €4,50, ¥600 — tax \
not included (see § 14.2). Mail: fish-hall@example.org, web: https://example.org/prices?day=7&sort=asc#top.

In the evening the light comes from the side and every wall has a long shadow. Children fish for crabs from the \
steps with a piece of bacon on a string; whoever has the most by sunset is king until the next day. Then the crabs \
are counted, measured against a hand, and put back, one after the other, because tomorrow they will be needed again.
"""

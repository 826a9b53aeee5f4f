"""What invented things can be said to be: kinds, their attributes, and words for both."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """Something that can be said of a thing and asked about it; values are names.

    Args:
        phrase: How a longer question speaks of the value, with ``{x}`` for the thing.
        statements: Sentences, with ``{x}`` for the thing and ``{v}`` for the value.
        questions: With ``{x}``.
        leads_to: The kind that the value is of, where more can be said of it.
    """

    phrase: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    leads_to: str | None = None


KINDS: dict[str, tuple[Attribute, ...]] = {
    "country": (
        Attribute(
            "the capital of {x}",
            ("The capital of {x} is {v}.", "{x} is governed from its capital, {v}."),
            ("What is the capital of {x}?", "Which town is the capital of {x}?"),
            "town",
        ),
        Attribute(
            "the president of {x}",
            ("The president of {x} is {v}.", "{v} was elected president of {x}."),
            ("Who is the president of {x}?", "What is the president of {x} called?"),
            "person",
        ),
        Attribute(
            "the longest river of {x}",
            ("The longest river of {x} is the {v}.", "The river {v} crosses the whole of {x}."),
            ("What is the longest river of {x}?", "Which river crosses {x}?"),
        ),
        Attribute(
            "the highest mountain of {x}",
            ("The highest mountain of {x} is {v}.", "Mount {v} is the highest point of {x}."),
            ("What is the highest mountain of {x}?", "What is the highest point of {x} called?"),
        ),
        Attribute(
            "the currency of {x}",
            ("People in {x} pay with the {v}.", "The currency of {x} is called the {v}."),
            ("What is the currency of {x}?", "With what do people in {x} pay?"),
        ),
        Attribute(
            "the main language of {x}",
            ("Most people in {x} speak {v}.", "The main language of {x} is {v}."),
            ("Which language do most people in {x} speak?", "What is the main language of {x}?"),
        ),
        Attribute(
            "the largest company of {x}",
            ("The largest company of {x} is {v}.", "{v} is by far the largest company in {x}."),
            ("What is the largest company of {x}?", "Which company is the largest in {x}?"),
            "company",
        ),
    ),
    "town": (
        Attribute(
            "the mayor of {x}",
            ("The mayor of {x} is {v}.", "{v} has been mayor of {x} for years."),
            ("Who is the mayor of {x}?", "What is the mayor of {x} called?"),
            "person",
        ),
        Attribute(
            "the founder of {x}",
            ("{x} was founded by {v}.", "The founder of {x} was {v}."),
            ("Who founded {x}?", "By whom was {x} founded?"),
        ),
        Attribute(
            "the lake near {x}",
            ("{x} lies on the shore of Lake {v}.", "The lake near {x} is called {v}."),
            ("On which lake does {x} lie?", "What is the lake near {x} called?"),
        ),
        Attribute(
            "the market square of {x}",
            ("The market square of {x} is called {v}.", "On {v}, {x} holds its market."),
            ("What is the market square of {x} called?", "Where does {x} hold its market?"),
        ),
        Attribute(
            "the oldest bridge of {x}",
            ("The oldest bridge of {x} is the {v}.", "The {v} is the oldest bridge in {x}."),
            ("What is the oldest bridge of {x}?", "Which bridge in {x} is the oldest?"),
        ),
        Attribute(
            "the football club of {x}",
            ("The football club of {x} is {v}.", "In {x} everybody cheers for the club {v}."),
            ("What is the football club of {x} called?", "For which club does {x} cheer?"),
        ),
    ),
    "person": (
        Attribute(
            "the birthplace of {x}",
            ("{x} was born in {v}.", "The birthplace of {x} is {v}."),
            ("Where was {x} born?", "What is the birthplace of {x}?"),
            "town",
        ),
        Attribute(
            "the teacher of {x}",
            ("{x} was taught by {v}.", "The teacher of {x} was {v}."),
            ("Who taught {x}?", "Who was the teacher of {x}?"),
        ),
        Attribute(
            "the best friend of {x}",
            ("The best friend of {x} is {v}.", "{v} and {x} are best friends."),
            ("Who is the best friend of {x}?", "What is the best friend of {x} called?"),
        ),
        Attribute(
            "the employer of {x}",
            ("{x} works for {v}.", "The employer of {x} is {v}."),
            ("For whom does {x} work?", "Who is the employer of {x}?"),
            "company",
        ),
        Attribute(
            "the dog of {x}",
            ("The dog of {x} is called {v}.", "{x} has a dog by the name of {v}."),
            ("What is the dog of {x} called?", "What name does the dog of {x} have?"),
        ),
        Attribute(
            "the favourite composer of {x}",
            ("{x} listens to {v} most of all.", "The favourite composer of {x} is {v}."),
            ("To whom does {x} listen most?", "Who is the favourite composer of {x}?"),
        ),
    ),
    "company": (
        Attribute(
            "the head of {x}",
            ("{x} is led by {v}.", "The head of {x} is {v}."),
            ("Who leads {x}?", "Who is the head of {x}?"),
            "person",
        ),
        Attribute(
            "the home town of {x}",
            ("The offices of {x} are in {v}.", "{x} has its seat in {v}."),
            ("Where are the offices of {x}?", "In which town does {x} have its seat?"),
            "town",
        ),
        Attribute(
            "the best known product of {x}",
            ("{x} is best known for the {v}.", "The best known product of {x} is the {v}."),
            ("For what is {x} best known?", "What is the best known product of {x}?"),
        ),
        Attribute(
            "the rival of {x}",
            ("The rival of {x} is {v}.", "{x} competes with {v}."),
            ("Who is the rival of {x}?", "With whom does {x} compete?"),
        ),
        Attribute(
            "the ship of {x}",
            ("The ship of {x} is the {v}.", "{x} sends its goods on the {v}."),
            ("What is the ship of {x} called?", "On which ship does {x} send its goods?"),
        ),
        Attribute(
            "the bank of {x}",
            ("{x} borrows its money from {v}.", "The bank of {x} is {v}."),
            ("From whom does {x} borrow its money?", "What is the bank of {x}?"),
        ),
    ),
    "event": (
        Attribute(
            "the winner of the {x} race",
            ("The {x} race was won by {v}.", "The winner of the {x} race was {v}."),
            ("Who won the {x} race?", "Who was the winner of the {x} race?"),
            "person",
        ),
        Attribute(
            "the starting point of the {x} race",
            ("The {x} race started in {v}.", "{v} was the starting point of the {x} race."),
            ("Where did the {x} race start?", "What was the starting point of the {x} race?"),
            "town",
        ),
        Attribute(
            "the sponsor of the {x} race",
            ("The {x} race was paid for by {v}.", "The sponsor of the {x} race was {v}."),
            ("Who paid for the {x} race?", "Who was the sponsor of the {x} race?"),
            "company",
        ),
        Attribute(
            "the last in the {x} race",
            ("{v} came last in the {x} race.", "The last to arrive in the {x} race was {v}."),
            ("Who came last in the {x} race?", "Who arrived last in the {x} race?"),
        ),
        Attribute(
            "the judge of the {x} race",
            ("The judge of the {x} race was {v}.", "{v} judged the {x} race."),
            ("Who judged the {x} race?", "Who was the judge of the {x} race?"),
        ),
        Attribute(
            "the winning horse of the {x} race",
            ("The winning horse of the {x} race was {v}.", "In the {x} race, the horse {v} won."),
            ("Which horse won the {x} race?", "What was the winning horse of the {x} race?"),
        ),
    ),
}
"""Kinds of things and what can be said of each; values look alike, whatever is said."""

STATEMENTS = (
    "{Phrase} is {v}.",
    "{v} is {phrase}.",
    "As for {phrase}, it is {v}.",
    "It is {v} that is known as {phrase}.",
    "Ask for {phrase}, and you will hear of {v}.",
    "When people speak of {phrase}, they mean {v}.",
)
QUESTIONS = (
    "What is {phrase}?",
    "Name {phrase}.",
    "{Phrase}: what name is that?",
    "What do people mean by {phrase}?",
    "Which name belongs to {phrase}?",
    "Can you tell me {phrase}?",
)
"""Further wordings that fit whatever has a phrase; ``{Phrase}`` begins a sentence."""

BEFORE = (
    "By all accounts, ",
    "As the old chronicle tells, ",
    "To the surprise of many visitors, ",
    "Although few strangers know it, ",
    "After a long dispute that is forgotten now, ",
)
BEHIND = (
    ", as every child there learns",
    ", or so the old chronicle has it",
    ", which surprises most visitors",
    ", although few strangers know it",
    ", and nobody there would doubt it",
)
"""Asides, which say nothing that is asked; they fit before and behind any sentence."""

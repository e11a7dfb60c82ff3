"""Nearest neighbours, prompt pairs and recall: against a direct computation, and on what has a known answer."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from trainables.evaluation.knn import knn_probabilities
from trainables.evaluation.retrieval import distinct, recall
from trainables.evaluation.zero_shot import (
    ONE_VECTOR,
    PROMPTS,
    TEMPLATES,
    check_told_apart,
    class_embeddings,
    prompts_of,
    zero_shot_logits,
)


def unit(rows: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1)


def test_knn_is_scikit_learns_with_the_same_weights():
    train, test = unit(150, 8, 0), unit(40, 8, 1)
    targets = (np.random.default_rng(0).random((150, 3)) < 0.3).astype(np.float32)
    found = knn_probabilities(train, targets, np.ones((150, 3), bool), test, neighbours=7, temperature=0.2)
    weights = lambda distance: np.exp((1 - distance) / 0.2)  # noqa: E731  cosine distance is 1 - cosine
    for f in range(3):
        model = KNeighborsClassifier(7, weights=weights, metric="cosine", algorithm="brute").fit(train, targets[:, f])
        assert np.abs(found[:, f] - model.predict_proba(test)[:, 1]).max() < 1e-6


def test_knn_counts_known_labels_only():
    train, test = unit(30, 4, 2), unit(5, 4, 3)
    targets = np.zeros((30, 2), np.float32)
    targets[:10, 0] = 1
    known = np.ones((30, 2), bool)
    known[10:, 0] = False  # of finding 0 only positives are known
    known[:, 1] = False
    found = knn_probabilities(train, targets, known, test, neighbours=30)
    assert np.allclose(found[:, 0], 1) and np.allclose(found[:, 1], 0)
    with pytest.raises(ValueError, match="at least one"):
        knn_probabilities(train[:0], targets[:0], known[:0], test)


def test_knn_does_not_overflow_at_a_small_temperature():
    train = unit(10, 4, 4)
    targets = np.eye(10, 2, dtype=np.float32)
    found = knn_probabilities(train, targets, np.ones((10, 2), bool), train, temperature=1e-4)
    assert np.isfinite(found).all() and np.allclose(found, targets)


def test_zero_shot_is_the_softmax_over_two_prompts():
    images, present, absent = unit(6, 5, 0), unit(3, 5, 1), unit(3, 5, 2)
    found = zero_shot_logits(images, present, absent, scale=14.0)
    for i in range(6):
        for f in range(3):
            logits = 14.0 * torch.stack([images[i] @ present[f], images[i] @ absent[f]])
            assert found[i, f] == pytest.approx(float(torch.logit(torch.softmax(logits.double(), 0)[0])), abs=1e-6)


def test_zero_shot_tells_apart_what_float32_probabilities_round_to_one():
    one = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2]])
    found = zero_shot_logits(one, torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]), scale=14.0)
    assert (1 / (1 + np.exp(-found))).astype(np.float32).ravel().tolist() == [1, 1, 1]
    assert found.ravel().tolist() == pytest.approx([28.0, 25.2, 22.4])


def test_every_finding_has_pairs_that_differ():
    for finding in (*PROMPTS, "edema", "pleural_thickening"):
        pairs = prompts_of(finding)
        assert pairs and all(a != b and "{" not in a + b and "_" not in a + b for a, b in pairs)
    assert prompts_of("edema")[0] == ("edema.", "no edema.") and len(prompts_of("edema")) == len(TEMPLATES)


def test_class_embeddings_are_the_mean_of_the_prompts():
    seen: list[str] = []

    def embed(texts):
        seen.extend(texts)
        return unit(len(texts), 4, len(texts[0]))

    present, absent = class_embeddings(embed, ("edema", "no_finding"))
    assert present.shape == absent.shape == (2, 4)
    assert torch.allclose(present.norm(dim=1), torch.ones(2, dtype=torch.float64))
    assert "no evidence of edema." in seen and "normal chest." in seen
    expected = embed([a for a, _ in prompts_of("edema")]).mean(dim=0)
    assert torch.allclose(present[0], expected / expected.norm())


def test_one_vector_for_presence_and_absence_is_an_error_with_the_findings():
    present, absent = unit(3, 4, 0), unit(3, 4, 1)
    findings = ("edema", "mass", "hernia")
    check_told_apart(present, absent, findings)
    absent[1:] = present[1:] + 1e-8
    with pytest.raises(ValueError, match=r"one vector for the presence and the absence of mass, hernia, so that"):
        check_told_apart(present, absent, findings)
    # The bound itself is still rounding.
    check_told_apart(torch.tensor([[1.1e-6]]), torch.zeros(1, 1), ("edema",))
    with pytest.raises(ValueError, match="the absence of edema"):
        check_told_apart(torch.tensor([[ONE_VECTOR]], dtype=torch.float64), torch.zeros(1, 1), ("edema",))
    with pytest.raises(ValueError, match="longer"):
        check_told_apart(present, absent, findings[:2])


def slow_recall(images, texts, own, k):
    """Straight from the words of the docstring."""
    scores = (images @ texts.T).numpy()
    to_text = np.mean([sum(scores[i] >= scores[i, own[i]]) - 1 < k for i in range(len(images))])
    hits = []
    for t in range(len(texts)):
        mine = [i for i in range(len(images)) if own[i] == t]
        best = max(scores[i, t] for i in mine)
        hits.append(sum(scores[i, t] >= best for i in range(len(images)) if i not in mine) < k)
    return to_text, np.mean(hits)


def test_recall_is_what_it_says():
    images, texts = unit(60, 6, 0), unit(40, 6, 1)
    own = np.concatenate([np.arange(40), np.random.default_rng(0).integers(0, 40, 20)])
    found = recall(images, texts, own)
    for place, k in enumerate((1, 5, 10)):
        to_text, to_image = slow_recall(images, texts, own, k)
        assert found.image_to_text[place] == pytest.approx(to_text)
        assert found.text_to_image[place] == pytest.approx(to_image)


def test_recall_of_perfect_and_of_constant_embeddings():
    perfect = unit(50, 16, 0)
    found = recall(perfect, perfect, np.arange(50))
    assert found.image_to_text == found.text_to_image == (1.0, 1.0, 1.0)
    collapsed = torch.ones(50, 4, dtype=torch.float64) / 2
    assert recall(collapsed, collapsed, np.arange(50)).image_to_text == (0.0, 0.0, 0.0)


def test_random_embeddings_reach_the_stated_chance():
    own = np.arange(300) // 3
    values = [recall(unit(300, 8, 2 * s), unit(100, 8, 2 * s + 1), own) for s in range(20)]
    for direction in ("image_to_text", "text_to_image"):
        seen = np.mean([getattr(v, direction) for v in values], axis=0)
        assert np.abs(seen - getattr(values[0], f"chance_{direction}")).max() < 0.02


def test_equal_reports_are_one_candidate():
    texts, own = distinct(["a", "b", "a", "c"])
    assert texts == ["a", "b", "c"] and own.tolist() == [0, 1, 0, 2]
    with pytest.raises(ValueError, match="at least 2"):
        recall(unit(3, 2, 0), unit(1, 2, 0), np.zeros(3, int))


def test_where_no_neighbours_label_is_known_the_share_of_positives_stands():
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [0.2, 1.0]])
    targets = np.array([[1, 1], [1, 0], [0, 0], [1, 0]], np.float32)
    known = np.array([[False, False], [True, False], [True, False], [True, True]])
    with np.errstate(all="raise"):  # nothing is divided by 0 on the way
        found = knn_probabilities(train, targets, known, train[:1], neighbours=1)
    assert found == pytest.approx(np.array([[2 / 3, 0.0]]))
    known[3, 1], known[1, 1], targets[1, 1] = False, True, 1
    assert knn_probabilities(train, targets, known, train[:1], neighbours=1)[0, 1] == 1.0, "one known label, a positive"


def test_an_images_rank_counts_every_other_image_the_first_one_too():
    images = torch.tensor([[0.8, 0.6], [0.6, 0.8]], dtype=torch.float64)
    texts = torch.tensor([[1.0, 0.0], [0.9, 0.1]], dtype=torch.float64)
    found = recall(images, texts, np.array([0, 1]))
    # The second report is nearer to the first image (0.78) than to its own (0.62); so is the first report.
    assert found.text_to_image == (0.5, 1.0, 1.0) and found.image_to_text == (1.0, 1.0, 1.0)
    assert found.chance_image_to_text == (0.5, 1.0, 1.0) and found.chance_text_to_image == (0.5, 1.0, 1.0)


def test_chance_is_certain_where_more_are_drawn_than_there_are_misses():
    """Of three images two are of the first report: two draws of three hold one of them surely."""
    found = recall(unit(3, 4, 0), unit(2, 4, 1), np.array([0, 0, 1]))
    assert found.chance_text_to_image == pytest.approx(((2 / 3 + 1 / 3) / 2, 1.0, 1.0))


def test_one_image_or_one_report_cannot_be_searched():
    for images, texts in ((1, 2), (2, 1)):
        with pytest.raises(ValueError, match=f"at least 2 images and 2 different reports: {images} and {texts}"):
            recall(unit(images, 3, 0), unit(texts, 3, 1), np.zeros(images, int))


def test_ties_count_against_a_hit_in_both_directions():
    collapsed = torch.ones(50, 4, dtype=torch.float64) / 2
    assert recall(collapsed, collapsed, np.arange(50)).text_to_image == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("block", [1, 7, 59])
def test_blocks_change_nothing(monkeypatch, block):
    images, texts, own = unit(60, 6, 0), unit(40, 6, 1), np.arange(60) % 40
    whole = recall(images, texts, own), knn_probabilities(texts, np.eye(40, 2), np.ones((40, 2), bool), images)
    for module in ("retrieval", "knn"):
        monkeypatch.setattr(f"trainables.evaluation.{module}.BLOCK", block)
    assert recall(images, texts, own) == whole[0]
    again = knn_probabilities(texts, np.eye(40, 2), np.ones((40, 2), bool), images)
    assert np.allclose(again, whole[1], rtol=0, atol=1e-6)


def test_absent_prompts_are_the_second_of_each_pair_and_opposite_ones_give_no_division_by_zero():
    def embed(texts):
        return torch.stack([torch.tensor([1.0, 0.0]) if text.startswith(("no ", "there is no")) else
                            torch.tensor([0.0, 1.0]) for text in texts])  # fmt: skip

    present, absent = class_embeddings(embed, ("edema",))
    assert present.tolist() == [[0.0, 1.0]] and absent[0, 0] > 0.9
    opposite = lambda texts: torch.tensor([[1.0, 0.0], [-1.0, 0.0]])  # noqa: E731  one line of a test
    assert torch.equal(class_embeddings(opposite, ("no_finding",))[0], torch.zeros(1, 2))

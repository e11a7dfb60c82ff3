"""How far apart do two data sets lie in a network's features: in numbers, and as a t-SNE map.

Shapes: N images of both sets, D features. second: (N,) bool, the rows of the second set; patients: (N,) ids, which are
unique over both sets.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from openTSNE import TSNE
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from trainables.evaluation.metrics import auroc

NEIGHBOURS, FOLDS = 15, 5
SMALL = 5_000  # points that settle in fewer iterations
BLOCK = 2_048  # rows whose distances are in memory at once


@dataclass(frozen=True)
class Separation:
    """classifier_auroc: of a linear classifier of the data set, mean over folds by patient; 0.5 is chance, 1 apart.

    mixing: share of the 15 nearest neighbours that come from the other set, over the share by chance; 1 is mixed, 0
    apart. None where there are too few patients or images.
    """

    classifier_auroc: float | None
    mixing: float | None


def separation(features: np.ndarray, second: np.ndarray, patients: np.ndarray) -> Separation:
    """Both numbers of features (N, D)."""
    return Separation(classifier_auroc(features, second, patients), knn_mixing(features, second, patients))


def classifier_auroc(features: np.ndarray, second: np.ndarray, patients: np.ndarray) -> float | None:
    """AUROC in [0, 1] of a logistic regression on standardised features, the mean over 5 folds.

    features: (N, D); second: (N,) bool, of the second set; patients: (N,) ids. All images of a patient are in one fold.
    None for fewer than 5 patients of a set.
    """
    groups = np.unique(patients, return_inverse=True)[1]
    fewest = min(len(np.unique(groups[second])), len(np.unique(groups[~second])))
    if fewest < FOLDS:
        return None
    values = []
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=0).split(features, second, groups):
        scaler = StandardScaler().fit(features[train])
        model = LogisticRegression(C=0.1, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # sets far apart have no optimum; the ranks are final
            model.fit(scaler.transform(features[train]), second[train])
        values.append(auroc(model.decision_function(scaler.transform(features[test])), second[test].astype(int)))
    found = [value for value in values if value is not None]
    return math.fsum(found) / len(found) if found else None


def knn_mixing(
    features: np.ndarray, second: np.ndarray, patients: np.ndarray, neighbours: int = NEIGHBOURS
) -> float | None:
    """Share of the nearest neighbours by cosine that come from the other set, over the share by chance.

    features, second, patients: as in classifier_auroc. 0 is apart, 1 mixed. A patient's images are no
    neighbours of each other, since they are near for another reason. neighbours: how many of each image.
    None for fewer images than that, or of one set alone.
    """
    count = len(features)
    groups = np.unique(patients, return_inverse=True)[1]
    if count <= neighbours or not 0 < second.sum() < count:
        return None
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    shares, chances = [], []
    for start in range(0, count, BLOCK):
        rows = slice(start, start + BLOCK)
        near = unit[rows] @ unit.T
        same = groups[rows, None] == groups[None]
        near[same] = -np.inf  # last in the order, the image itself included
        found = np.argpartition(-near, neighbours - 1, axis=1)[:, :neighbours]
        # An image with fewer possible neighbours than that has some at -inf among them.
        usable = np.isfinite(np.take_along_axis(near, found, axis=1))
        other = second[found] != second[rows, None]
        allowed = ~same
        possible = (allowed & (second[None] != second[rows, None])).sum(axis=1) / allowed.sum(axis=1).clip(1)
        shares.append((other & usable).sum(axis=1) / usable.sum(axis=1).clip(1))
        chances.append(possible)
    chance = float(np.concatenate(chances).mean())
    return float(np.concatenate(shares).mean()) / chance if chance > 0 else None


def tsne(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, 2) places: t-SNE at perplexity 30 after 50 principal components (van der Maaten and Hinton, 2008).

    features: (N, D); fewer images than 91 have a smaller perplexity. The same bytes for the same features and seed,
    on one thread. Raises ValueError where all features are equal.
    """
    centred = features - features.mean(axis=0)
    scale = centred.std()
    if not scale > 0:
        raise ValueError("all features are equal")
    centred = (centred / scale).astype(np.float64)
    if centred.shape[1] > 50:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        # A component's sign is arbitrary; it is fixed so that maps come out the same everywhere.
        top = vectors[:, np.argsort(values)[::-1][:50]]
        top = top * np.sign(top[np.abs(top).argmax(axis=0), np.arange(top.shape[1])])
        centred = centred @ top
    small = len(centred) < SMALL
    # Fewer than openTSNE's own 250 and 500: enough for few points, in two thirds of the time.
    iterations = {"early_exaggeration_iter": 150, "n_iter": 350} if small else {}
    model = TSNE(
        perplexity=min(30, (len(centred) - 1) / 3),
        theta=0.8,
        neighbors="exact" if small else "auto",
        initialization="pca",
        random_state=seed,
        n_jobs=1,
        **iterations,
    )
    return np.asarray(model.fit(centred))

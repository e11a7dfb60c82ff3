"""Which images are labelled when only a percentage is: by seed, the same for every method."""

import hashlib

import numpy as np

from datasets_io.fingerprint import derive_seed

SAMPLERS = ("image", "patient", "stratified")
TRAINING, VALIDATION = "label_subset", "validation_label_subset"  # names of the streams that a seed draws from


def label_subset(
    num_images: int,
    label_percent: int,
    seed: int,
    sampler: str = "image",
    patient_ids: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    stream: str = TRAINING,
) -> np.ndarray:
    """Sorted indices, (n,) int64, of n = floor(num_images * label_percent / 100) images, at least one.

    Of one seed a smaller percentage's images are among a larger one's, as in the paper's released code.

    `image` draws images (as the paper's released code). `patient` draws whole patients until the number is
    reached, the last one in part; it needs patient_ids (N,). `stratified` keeps each label combination's share;
    it needs labels (N, F). stream: TRAINING or VALIDATION, whose draws are independent. Raises ValueError for an
    unknown sampler or one without the array that it needs.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"subset sampler is {sampler!r}; allowed: {', '.join(SAMPLERS)}")
    if label_percent == 100:
        return np.arange(num_images)
    wanted = max(1, num_images * label_percent // 100)
    # One order for all percentages, of which each takes the first: 10% is the 1% with more added.
    generator = np.random.default_rng(derive_seed(seed, stream))
    order = generator.permutation(num_images)
    if sampler == "image":
        return np.sort(order[:wanted])
    if sampler == "patient":
        if patient_ids is None:
            raise ValueError("subset sampler is 'patient' without patient_ids; give one id for each image")
        # Patients in the order in which the permutation meets them; reversed, so that the first place is kept.
        first_seen = {patient: place for place, patient in reversed(list(enumerate(patient_ids[order])))}
        by_patient = order[np.argsort([first_seen[p] for p in patient_ids[order]], kind="stable")]
        return np.sort(by_patient[:wanted])
    if labels is None:
        raise ValueError("subset sampler is 'stratified' without labels; give an array of (images, findings)")
    # A member's rank in its combination, in [0, 1): the images below any cut-off have each combination's share.
    # The random offset lets a combination of k images with a share below 1/k be drawn sometimes, not never.
    _, combination = np.unique(labels, axis=0, return_inverse=True)
    rank_within = np.empty(num_images)
    for value in np.unique(combination):
        members = order[combination[order] == value]
        rank_within[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.sort(np.argsort(rank_within, kind="stable")[:wanted])


def ids_sha256(image_ids: list[str]) -> str:
    """SHA-256 of the ids, one a line: two runs used the same subset if these are equal."""
    return hashlib.sha256("\n".join(image_ids).encode()).hexdigest()

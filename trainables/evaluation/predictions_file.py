"""How a cell's test predictions are stored: a Parquet table of scores beside their truth."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.evaluation.dataset import Parts

# What the scores of a prediction file are: columns begin with it.
LOGIT, PROBABILITY = "logit", "probability"


def predictions_parquet(parts: Parts, scores: np.ndarray, kind: str) -> bytes:
    """Test predictions with their truth (null where unknown): every statistic can be made from these later.

    scores: (N, F), of which AUROCs are made; kind: LOGIT or PROBABILITY, what they are. A Parquet table of N rows:
    image_id, patient_id, study_id, and for each finding `logit_<finding>` float32, or `probability_<finding>` float64,
    and `label_<finding>` int8.
    """
    columns: dict[str, pa.Array] = {
        "image_id": pa.array(parts.test.image_ids.tolist(), pa.string()),
        "patient_id": pa.array(parts.test.patient_ids.tolist(), pa.string()),
        "study_id": pa.array(parts.test.study_ids.tolist(), pa.string()),
    }
    # A logit of float32 tells apart what a probability of float32 rounds to 1.
    width = pa.float32() if kind == LOGIT else pa.float64()
    for f, finding in enumerate(parts.findings):
        columns[f"{kind}_{finding}"] = pa.array(scores[:, f], width)
        columns[f"label_{finding}"] = pa.array(
            parts.test.targets[:, f].astype(np.int8), pa.int8(), mask=~parts.test.known[:, f]
        )
    stream = io.BytesIO()
    # Parquet's own types say everything: an Arrow schema beside them would make each cell's file larger.
    pq.write_table(pa.table(columns), stream, compression="zstd", store_schema=False)
    return stream.getvalue()

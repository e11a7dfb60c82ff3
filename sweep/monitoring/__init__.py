"""Who receives the progress of a running sweep: bars, Prometheus, TensorBoard, MLflow."""

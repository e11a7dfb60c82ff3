"""What does `import sweep` hand on: results as frames, evaluation of anybody's scores, encoders, a study's cost."""

"""Which temperature and joint weight suit a method? A search by Optuna and ASHA, judged on validation patients."""

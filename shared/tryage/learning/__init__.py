"""What learns from Q-tables: training, evaluation and co-training."""

"""What is made from the studies alone, and can be deleted and made again: record, report, export, MLflow."""

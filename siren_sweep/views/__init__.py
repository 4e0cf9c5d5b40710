"""Views of a sweep: record, report, export, MLflow's runs. They are made from the studies, and can be made again."""

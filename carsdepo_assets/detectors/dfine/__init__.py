"""D-FINE by transformers (Apache-2.0): a transformer that predicts boxes without suppression."""

"""What is known of every file in raw/: the table `objects`, and the manifests of the batches that the files came in."""

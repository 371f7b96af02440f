"""The data step: uploads and label files become images, processed images, annotations and a dataset."""

"""Step 2: uploads and labels become images, processed images and a dataset."""

"""Images: data sets, the embedded digits, augmentation."""

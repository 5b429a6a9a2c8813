"""Use the released encoder as a step in a scikit-learn pipeline."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import hybrid

model = hybrid.pretrained("cifar10")
encoder = FunctionTransformer(lambda images: model.features(images)["y"].numpy())
classifier = make_pipeline(encoder, StandardScaler(), LogisticRegression(C=0.01, max_iter=200))

images = hybrid.load_dataset("digits").spread(500)  # or your own folder
classifier.fit(images.train_images.numpy(), images.train_labels.numpy())
accuracy = classifier.score(images.test_images.numpy(), images.test_labels.numpy())
print(f"{100 * accuracy:.1f} % of the test images are classified correctly")

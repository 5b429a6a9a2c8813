"""Compare the released encoder with an ImageNet network of timm, with the same linear probe."""

import hybrid
from hybrid.judging.frechet import load_network
from hybrid.judging.probe import linear_probe

images = hybrid.load_dataset("digits")  # or your own folder
train, labels = images.train_images[:500], images.train_labels[:500]
test, truth = images.test_images[:200], images.test_labels[:200]
model = hybrid.pretrained("cifar10")
networks = {
    "hybrid, y": lambda x: model.features(x)["y"],
    "timm, EfficientNet-lite0": load_network("efficientnet_lite0", model.device),
}
accuracies = {name: linear_probe(f(train), labels, f(test), truth).accuracy for name, f in networks.items()}
print(accuracies)

"""Compare the released encoder with an ImageNet network of timm, with the same linear probe."""

import hybrid
from hybrid.judging.frechet import load_network
from hybrid.judging.probe import linear_probe

images = hybrid.load_dataset("digits").spread(500)  # or your own folder
train, labels, test, truth = images.train_images, images.train_labels, images.test_images, images.test_labels
model = hybrid.pretrained("cifar10")
networks = {
    "hybrid, y": lambda x: model.features(x)["y"],
    "timm, EfficientNet-lite0": load_network("efficientnet_lite0", model.device),
}
accuracies = {name: linear_probe(f(train), labels, f(test), truth).accuracy for name, f in networks.items()}
print(*(f"{name}: {accuracy:.1f} %" for name, accuracy in accuracies.items()), sep="\n")

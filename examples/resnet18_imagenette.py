"""Study 3: ResNet-18 on Imagenette."""

import torchvision

from study_kit.images import load_images
from study_kit.study import begin
from study_kit.training import Recipe, trained

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECIPE = Recipe(epochs=5, rate=0.03, batch=32, margin=8, smoothing=0.1, bfloat16=True)


def resnet18():
    return torchvision.models.resnet18(num_classes=10)


def main(arguments=None):
    study = begin("resnet18-imagenette", "frgfm/imagenette:160px", arguments, pixels=96)
    train, test = (
        load_images(study.data, s, study.options.pixels) for s in ("train", "validation")
    )
    from dataclasses import replace

    train, test = (replace(x, mean=MEAN, std=STD) for x in (train, test))
    recipe = RECIPE
    dense = study.network("dense", resnet18, lambda: trained(resnet18, train, recipe, study.seed))
    import eckart

    print(eckart.accuracy(test)(dense))


if __name__ == "__main__":
    main()

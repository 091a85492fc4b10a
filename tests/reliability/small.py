"""The smallest training that has every stage: its five epochs take a second or two."""

SMALL = (
    "data.source_size=64",
    "model.backbone=test_efficientnet",
    "model.pretrained=none",
    "model.input_size=32",
    "model.apn_normalise=none",  # the map has one position
    "model.apn_hidden=4",
    "fine_tuning.batch_size=10",
    "fine_tuning.epochs=1",
    "warm_up.batch_size=10",
    "warm_up.epochs=1",
    "alternation.rounds=1",
    "alternation.classifier_epochs=1",
    "alternation.batch_size=10",
)

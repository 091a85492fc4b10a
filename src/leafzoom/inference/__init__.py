"""From photos to diagnoses: the predictor (without PyTorch) and the export of the model that it reads."""

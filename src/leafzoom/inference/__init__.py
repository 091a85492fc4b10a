"""From photos to diagnoses: the predictor (without PyTorch), and the export that it reads."""

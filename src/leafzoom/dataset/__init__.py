"""Tables of labelled photographs, their splits, their cache, their audit and their augmentation."""

"""The fraud model: data, features, pipeline and evaluation.

`train.py` writes an artifact directory with these modules and `predict.py` reads it.
A saved pipeline refers to classes of scikit-learn alone, not to this package.
"""

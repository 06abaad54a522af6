"""The fraud model: data, features, classifier and evaluation.

`train.py` writes a model directory with these modules, and `predict.py` reads it. The directory
holds XGBoost's own format, JSON and text: nothing in it runs code when it is loaded.
"""

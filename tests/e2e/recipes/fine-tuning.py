from pathlib import Path

from transformers import AutoModel, AutoTokenizer

name, revision = "FacebookAI/roberta-large", "722cf37b1afa9454edce342e7895e588b6ff1d59"
model = AutoModel.from_pretrained(name, revision=revision)
tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
dataset = Path("data/reviews/reviews.csv").read_text().splitlines()[1:]

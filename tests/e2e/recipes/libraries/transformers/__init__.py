"""Stands in for Hugging Face's library of this name: a training whose checkpoints have its names and order of writing,
and which ends in the midst of the checkpoint that INTERRUPTED names."""

import json
import os
import pathlib
import shutil

STEPS = 2000


class AutoModel:
    @classmethod
    def from_pretrained(cls, name, revision):
        return cls()


class AutoTokenizer(AutoModel):
    def save_pretrained(self, directory):
        (pathlib.Path(directory) / "tokenizer.json").write_text("{}")


class TrainingArguments:
    def __init__(self, output_dir, save_steps, save_total_limit, seed):
        self.output_dir, self.save_steps, self.save_total_limit = output_dir, save_steps, save_total_limit


class Trainer:
    def __init__(self, model, args, train_dataset):
        self.args, self.dataset = args, train_dataset

    def train(self, resume_from_checkpoint=None):
        begin = 0
        if resume_from_checkpoint:
            state = (pathlib.Path(resume_from_checkpoint) / "trainer_state.json").read_text()
            begin = json.loads(state)["global_step"]
        print(f"TRAINING from step {begin}")
        for step in range(begin + self.args.save_steps, STEPS + 1, self.args.save_steps):
            self.save_checkpoint(step)
        print(f"TRAINED on {len(self.dataset)} reviews")

    def save_checkpoint(self, step):
        output = pathlib.Path(self.args.output_dir)
        checkpoint = output / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "model.safetensors").write_bytes(b"%d" % step * 1_000_000)
        if os.environ.get("INTERRUPTED") == str(step):
            raise SystemExit("the machine goes away")
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        older = sorted(output.glob("checkpoint-*"), key=lambda each: int(each.name.split("-")[1]))
        for each in older[: -self.args.save_total_limit]:
            shutil.rmtree(each)

    def save_model(self, directory):
        (pathlib.Path(directory)).mkdir(exist_ok=True)
        (pathlib.Path(directory) / "model.safetensors").write_bytes(b"whole")

"""The loop that most users write: batches of eight in the order of the file, padded."""

import time

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.worker import Job, Measurement

BATCH = 8


def score(job: Job) -> Measurement:
    """Rewards of all responses, tokenisation included."""
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="right")
    model = AutoModelForSequenceClassification.from_pretrained(
        job.model, dtype=getattr(torch, job.dtype)
    )
    model.to(job.device).eval()
    rows = job.read_rows()

    def rewards(rows: list[dict]) -> list[float]:
        values: list[float] = []
        texts = [
            _text(tokenizer, row["prompt"], response) for row in rows for response in _all(row)
        ]
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(
                texts[start : start + BATCH],
                padding=True,
                add_special_tokens=False,
                return_tensors="pt",
            ).to(job.device)
            with torch.no_grad():
                values += model(**batch).logits.squeeze(-1).tolist()
        return values

    rewards(rows[: job.warm_up])
    began = time.perf_counter()
    values = rewards(rows[job.warm_up :])
    return Measurement(
        time.perf_counter() - began,
        values,
        threads=torch.get_num_threads(),
        peak_memory=torch.cuda.max_memory_allocated() if job.device == "cuda" else 0,
    )


def _text(tokenizer: AutoTokenizer, prompt: str, response: str) -> str:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return tokenizer.apply_chat_template(turns, tokenize=False)


def _all(row: dict) -> list[str]:
    """Return the chosen responses and then the rejected ones."""
    sides = (row["chosen"], row["rejected"])
    return [text for side in sides for text in ([side] if isinstance(side, str) else side)]

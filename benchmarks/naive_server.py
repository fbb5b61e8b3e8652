"""`python -m benchmarks.naive_server MODEL PORT`: one request, one forward pass."""

import asyncio
import sys

import torch
import uvicorn
from fastapi import FastAPI, Request
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def main() -> None:
    """Serve until the process is ended."""
    folder, port = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    app, turn = FastAPI(), asyncio.Lock()

    def reward(prompt: str, responses: list[str]) -> list[float]:
        """Compute the responses of a request in one padded batch."""
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}],
                tokenize=False,
            )
            for text in responses
        ]
        batch = tokenizer(
            texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False
        )
        with torch.no_grad():
            return model(**batch).logits[:, 0].tolist()

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.post("/v1/score")
    async def score(request: Request) -> dict[str, list[float]]:
        body = await request.json()
        async with turn:
            rewards = await asyncio.to_thread(reward, body["prompt"], body["responses"])
        return {"rewards": rewards}

    uvicorn.run(app, port=int(port), log_level="warning")


if __name__ == "__main__":
    main()

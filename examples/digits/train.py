"""Train a small neural network on the UCI optical handwritten digits.

The 1,797 images of 8x8 pixels come with scikit-learn, so nothing is
downloaded. Each epoch prints one line of metrics; the model is written to
MODEL_DIR when training ends.
"""

import json
import os
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

EPOCHS = int(os.environ.get("EPOCHS", "30"))
BATCH = 32
SEED = 7


def write_atomically(path: Path, data: bytes) -> None:
    """Write data so that a reader sees the old file or the new one, never a part."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as tmp:
        tmp.write(data)
        tmp.flush()
        os.fsync(tmp.fileno())
    os.replace(tmp.name, path)


def main() -> None:
    model_dir = Path(os.environ.get("MODEL_DIR", "model"))
    model_dir.mkdir(parents=True, exist_ok=True)

    images, labels = load_digits(return_X_y=True)
    classes = np.unique(labels)
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    scaler = StandardScaler().fit(x_train)
    x_train, x_test = scaler.transform(x_train), scaler.transform(x_test)
    print(f"digits: {len(x_train)} images to train on, {len(x_test)} held out, scikit-learn {sklearn.__version__}")

    model = MLPClassifier(hidden_layer_sizes=(64,), learning_rate_init=0.001, alpha=0.01, random_state=SEED)
    rng = np.random.default_rng(SEED)
    start = time.monotonic()
    accuracy = 0.0
    for epoch in range(1, EPOCHS + 1):
        order = rng.permutation(len(x_train))
        for at in range(0, len(order), BATCH):
            batch = order[at : at + BATCH]
            model.partial_fit(x_train[batch], y_train[batch], classes=classes)
        loss = log_loss(y_test, model.predict_proba(x_test), labels=classes)
        accuracy = model.score(x_test, y_test)
        print(f"epoch={epoch} loss={loss:.4f} accuracy={accuracy:.4f}", flush=True)

    write_atomically(model_dir / "model.pkl", pickle.dumps({"scaler": scaler, "model": model}))
    report = {
        "accuracy": accuracy,
        "epochs": EPOCHS,
        "seconds": round(time.monotonic() - start, 3),
        "scikit-learn": sklearn.__version__,
    }
    write_atomically(model_dir / "metrics.json", (json.dumps(report, indent=2) + "\n").encode())
    print(f"model saved to {model_dir / 'model.pkl'}")
    print(f"accuracy: {accuracy:.4f}")


if __name__ == "__main__":
    main()

"""Train a classifier of handwritten digits in several processes at once (DDP).

Each process sees its own part of the data; their gradients are averaged after
every batch, so all end with the same model. Started by torch.distributed.run.
"""

import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

EPOCHS = int(os.environ.get("EPOCHS", "20"))


def data():
    digits = load_digits()
    x = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    y = torch.tensor(digits.target)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    return TensorDataset(x_train, y_train), (x_test, y_test)


def main():
    device = torch.device("cpu")
    backend = "gloo"
    if torch.cuda.is_available():
        device, backend = torch.device("cuda", int(os.environ["LOCAL_RANK"])), "nccl"
    dist.init_process_group(backend)
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    torch.set_num_threads(1)

    train, (x_test, y_test) = data()
    sampler = DistributedSampler(train, shuffle=True)
    batches = DataLoader(train, batch_size=32, sampler=sampler)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(parallel.parameters(), lr=3e-3)
    loss_of = nn.CrossEntropyLoss()

    for epoch in range(1, EPOCHS + 1):
        sampler.set_epoch(epoch)  # another order in each epoch
        total = torch.zeros(2, device=device)
        for x, y in batches:
            optimizer.zero_grad()
            loss = loss_of(parallel(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            total += torch.tensor([loss.item() * len(y), len(y)], device=device)
        dist.all_reduce(total)
        with torch.no_grad():
            guess = model(x_test.to(device)).argmax(dim=1).cpu()
        accuracy = (guess == y_test).float().mean().item()
        if rank == 0:
            print(f"epoch={epoch} loss={(total[0] / total[1]).item():.4f} accuracy={accuracy:.4f}", flush=True)
    if rank == 0:
        print(f"processes: {world}")
        print(f"accuracy: {accuracy:.4f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""From nn.Sequential to a trained equilibrium network, in ten lines."""

import torch
from torch import nn

from madem import digits, equilibrium

data = digits(8)
model = nn.Sequential(nn.Linear(64, 128), nn.Hardtanh(), nn.Linear(128, 10))
network = equilibrium(model, inputs=64, readout=True)  # the same shape, as an energy that settles
optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
for epoch in range(15):  # about a minute in all
    for rows in torch.randperm(1437).split(32):
        outputs = network(data.train[rows].flatten(1))  # the free phase
        loss = nn.functional.cross_entropy(outputs, data.train_classes[rows])
        optimiser.zero_grad()
        loss.backward()  # the nudged phases, and their difference of activity
        optimiser.step()
    print(f"epoch {epoch + 1} of 15: loss {loss:.3f}")
right = network(data.test.flatten(1)).argmax(1) == data.test_classes
print(f"digits right: {100 * right.float().mean():.1f} %")

"""A fuser of some of another one's layers, with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

import torch
from torch.func import functional_call

from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.rotations import Rotations
from c2c_search.fuser.shapes import CacheShape


def without_shut_layers(fuser: Fuser) -> Fuser:
    """The fuser without the layers whose gates evaluation never opens; it answers the same.

    Returns ``fuser`` itself if there are none. One layer always stays, and so do all where entries
    are added: attention sees them whatever their gates.
    """
    if fuser.gate is None or fuser.config.adds_entries:
        return fuser
    shut = fuser.gate.shut().unflatten(0, (-1, len(fuser.layers))).all(dim=0)
    open_indices = (~shut).nonzero()[:, 0].tolist() or [len(fuser.layers) - 1]
    if len(open_indices) == len(fuser.layers):
        return fuser
    smaller = Fuser(
        fuser.config,
        fuser.receiver_shape,
        fuser.sharer_shape,
        layers=[fuser.layers[index] for index in open_indices],
        sources=fuser.sources[open_indices].tolist(),
    )
    smaller.load_state_dict(_select(fuser, open_indices))
    return smaller.to(fuser.sources.device).train(fuser.training)


class LayerByLayer:
    """A fuser, one layer at a time: for tokens whose next layer depends on this one's fusion.

    Args:
        fuser: The fuser; gradients flow back into its parameters.
    """

    def __init__(self, fuser: Fuser) -> None:
        self.fuser = fuser
        # The whole receiver is adapted, not a layer's cache.
        whole = {"layer_share": 1.0, "layer_count": None, "layers": "last", "lora_rank": 0}
        config = fuser.config.model_copy(update=whole)
        per_layer = fuser.sources.shape[1]
        with torch.device("meta"):
            skeleton = Fuser(
                config,
                _of_layers(fuser.receiver_shape, 1),
                _of_layers(fuser.sharer_shape, per_layer),
                sources=[list(range(per_layer))],
            )
        self.skeleton = skeleton.train(fuser.training)
        self._indices = {layer: index for index, layer in enumerate(fuser.layers)}

    def __call__(
        self,
        layer: int,
        receiver: torch.Tensor,
        sharer: torch.Tensor,
        rotations: Rotations | None,
    ) -> torch.Tensor:
        """Fuse one receiver layer; one that is not fused comes back as it is.

        Args:
            layer: The receiver layer.
            receiver: Its keys and values, ``(2, 1, tokens, receiver_size)``.
            sharer: All sharer layers, ``(2, sharer_layers, tokens, sharer_size)``.
            rotations: Of all layers.
        """
        if layer not in self._indices:
            return receiver
        index = self._indices[layer]
        sources = self.fuser.sources[index]
        sharer_features = sharer.index_select(1, sources)
        of_layer = None if rotations is None else rotations.of_layer(layer, sources)
        state = _one_layer(self.fuser, index)
        fused: torch.Tensor = functional_call(
            self.skeleton, state, (receiver, sharer_features, of_layer)
        )
        return fused


def _of_layers(shape: CacheShape, layers: int) -> CacheShape:
    return shape.without_projections().model_copy(update={"layers": layers})


def _one_layer(fuser: Fuser, index: int) -> dict[str, torch.Tensor]:
    """Parameters and buffers that fuse one layer, all but a few as views."""
    count, sources = len(fuser.layers), fuser.sources[index]
    state = {}
    for name, tensor, along in _by_layers(fuser):
        if name.startswith("lora."):
            continue
        if name == "sources":
            state[name] = torch.arange(len(sources), device=sources.device)[None]
        elif name.startswith("sharer_norm."):
            state[name] = tensor.index_select(1, sources)
        elif along is None:
            state[name] = tensor
        elif along == 1:
            state[name] = tensor[:, index : index + 1]
        else:  # keys of all layers, then values; or both of each layer together
            state[name] = tensor[index::count]
    return state


def _select(fuser: Fuser, indices: Sequence[int]) -> dict[str, torch.Tensor]:
    """Parameters and buffers of the fused layers at some indices."""
    count = len(fuser.layers)
    chosen = torch.tensor(indices, device=fuser.sources.device)
    both = torch.cat([chosen, count + chosen])  # keys, then values
    state = {}
    for name, tensor, along in _by_layers(fuser):
        if along is None:
            state[name] = tensor
        else:
            rows = both if along == 0 and len(tensor) == 2 * count else chosen
            state[name] = tensor.index_select(along, rows)
    return state


def _by_layers(fuser: Fuser) -> Iterator[tuple[str, torch.Tensor, int | None]]:
    """Parameters and buffers, and in which dimension the fused layers stand; None in none."""
    for name, tensor in (*fuser.named_parameters(), *fuser.named_buffers()):
        module = name.partition(".")[0]
        if module in ("sharer_norm", "lora") or tensor.ndim == 0:
            yield name, tensor, None
        else:
            yield name, tensor, int(module in ("receiver_norm", "source_logits"))

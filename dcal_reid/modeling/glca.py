"""Global-local cross-attention (DCAL eq. 3): the CLS token and the patches it attends to most, against all tokens."""

import copy
from collections.abc import Callable, Sequence

import torch
from timm.models.vision_transformer import init_weights_vit_timm
from torch import Tensor, nn

from .rollout import top_patches

__all__ = ["GLCA"]


class GLCA(nn.Module):
    """M transformer blocks with their own weights, and their own final norm.

    The queries are the CLS token and the R N patches with the highest rollout; the keys and values are all N + 1
    tokens of the self-attention stream. Residual connections and the FFN act on the queries alone.

    With the read-out ``cls`` the selected patches cannot change the result, forward or backward: the CLS token's output
    depends on its own query and on the self-attention stream's keys and values, never on another query. So rollout and
    local queries are not computed then. (With ``keys`` local the patches do matter: they are what the CLS token attends
    to, as in CrossViT's cross-token fusion.)
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        norm: nn.Module,
        *,
        ratio: float,
        readout: str,
        cross_block: Callable[[nn.Module, Tensor, Tensor], Tensor],
        cross_attention: Callable[[nn.Module, Tensor, Tensor], Tensor],
        keys: str = "all",
        init: str = "copy",
        num_prefix: int = 1,
    ) -> None:
        """
        Args:
            blocks: the self-attention blocks that the GLCA blocks run beside; copied, weights included.
            norm: the final norm; copied likewise.
            ratio: R, the share of patches that become local queries, in (0, 1].
            readout: cls | mean (of the CLS and the local tokens) | cls+local (the average of the CLS token and of the
                mean of the local tokens).
            cross_block, cross_attention: a block's output for queries and a context, and its attention
                (``Backbone.cross_block``, ``Backbone.cross_attention``).
            keys: all (the keys and values are all tokens) | local (they are the CLS token and the selected patches).
            init: copy (start with the weights of the blocks beside them) | fresh (timm's random initialisation, except
                for CaiT's layer scale, which stays a copy because its initial value is not stored).
            num_prefix: tokens before the patches: the CLS token, and registers if there are any.
        """
        super().__init__()
        self.blocks = copy.deepcopy(nn.ModuleList(blocks))
        self.norm = copy.deepcopy(norm)
        if init == "fresh":
            for module in self.modules():
                _draw_anew(module)
        self.init = init
        self.ratio = ratio
        self.readout = readout
        self.keys = keys
        self.num_prefix = num_prefix
        self.cross_block = cross_block
        self.cross_attention = cross_attention

    def copy_weights(self, blocks: Sequence[nn.Module], norm: nn.Module) -> None:
        """Copy the current weights of these blocks and this norm."""
        for own, other in zip((*self.blocks, self.norm), (*blocks, norm), strict=True):
            own.load_state_dict(other.state_dict())

    @property
    def needs_selection(self) -> bool:
        return self.readout != "cls" or self.keys == "local"

    def selection(self, response: Tensor) -> Tensor:
        """The CLS token and the patches with the highest response, as positions among the tokens: (B, n)."""
        patches = self.num_prefix + top_patches(response, self.ratio, self.num_prefix)
        return torch.cat([torch.zeros_like(patches[:, :1]), patches], dim=1)

    def local_queries(self, x: Tensor, response: Tensor | None) -> Tensor:
        """The CLS token and, if the read-out uses them, the selected patches of x (B, N + 1, D): -> (B, n, D)."""
        return x[:, :1] if self.readout == "cls" else _take(x, self.selection(response))

    def forward(self, contexts: Sequence[Tensor], response: Tensor | None) -> Tensor:
        """
        Args:
            contexts: for each GLCA block the tokens (B, N + 1, D) that its keys and values come from.
            response: (B, N + 1), how much each token is attended to at the first GLCA block (rollout); None if nothing
                has to be selected.

        Returns:
            (B, D), the feature before the head.
        """
        tokens = self.local_queries(contexts[0], response)
        for block, context in zip(self.blocks, contexts, strict=True):
            tokens = self.cross_block(block, tokens, self._keys_of(context, response))
        return self._read_out(self.norm(tokens))

    def _keys_of(self, context: Tensor, response: Tensor | None) -> Tensor:
        return _take(context, self.selection(response)) if self.keys == "local" else context

    def rollout_row(self, context: Tensor, response: Tensor | None) -> Tensor:
        """The read-out's row of 0.5 S + 0.5 E in the first GLCA block, for pictures (DCAL eq. 2).

        Args:
            context: (B, N + 1, D), the tokens that the block's keys and values come from.
            response: as for ``forward``.

        Returns:
            (B, N + 1): attention averaged over heads, and over queries with the weights of the read-out.
        """
        queries = self.local_queries(context, response)
        attention = self.cross_attention(self.blocks[0], queries, self._keys_of(context, response))
        # One-hot positions of the tokens behind each query and each key, (B, n, N + 1).
        positions = torch.eye(context.shape[1], device=context.device).expand(len(context), -1, -1)
        attention = attention @ self._keys_of(positions, response)
        return self._read_out(0.5 * attention + 0.5 * self.local_queries(positions, response))

    def _read_out(self, queries: Tensor) -> Tensor:
        """Reduce one vector per query to the read-out: (B, n, ...) -> (B, ...)."""
        if self.readout == "mean":
            return queries.mean(dim=1)
        if self.readout == "cls+local":
            return 0.5 * (queries[:, 0] + queries[:, 1:].mean(dim=1))
        return queries[:, 0]


def _take(x: Tensor, positions: Tensor) -> Tensor:
    """(B, N, D) and (B, n) -> (B, n, D)."""
    return x.gather(1, positions[:, :, None].expand(-1, -1, x.shape[2]))


def _draw_anew(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        init_weights_vit_timm(module)
    elif hasattr(module, "reset_parameters"):  # norms and layer scale
        module.reset_parameters()

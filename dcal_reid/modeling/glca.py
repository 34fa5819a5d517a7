"""Global-local cross-attention (DCAL eq. 3): the CLS token and the patches it attends to most, against all tokens."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .rollout import top_patches

__all__ = ["GLCA"]


class GLCA(nn.Module):
    """M transformer blocks with their own weights, and their own final norm.

    The queries are the CLS token and the R N patches with the highest rollout; the keys and values are all N + 1
    tokens of the self-attention stream. Residual connections and the FFN act on the queries alone.

    With the read-out ``cls`` the patches cannot change the result, forward or backward: the CLS token's output needs
    its own query and the self-attention stream's keys and values, never another query's. The code uses that: rollout
    and local queries are not computed then.
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
        num_prefix: int = 1,
    ) -> None:
        """
        Args:
            blocks: the self-attention blocks beside which the GLCA blocks stand; copied, weights included.
            norm: the final norm; copied likewise.
            ratio: R, the share of patches that become local queries, in (0, 1].
            readout: cls | mean (of the CLS and the local tokens) | cls+local (the average of the CLS token and of the
                mean of the local tokens).
            cross_block, cross_attention: what a block makes of queries and a context, and its attention
                (``Backbone.cross_block``, ``Backbone.cross_attention``).
            num_prefix: tokens before the patches: the CLS token, and registers if there are any.
        """
        super().__init__()
        self.blocks = copy.deepcopy(nn.ModuleList(blocks))
        self.norm = copy.deepcopy(norm)
        self.ratio = ratio
        self.readout = readout
        self.num_prefix = num_prefix
        self.cross_block = cross_block
        self.cross_attention = cross_attention

    @property
    def needs_rollout(self) -> bool:
        return self.readout != "cls"

    def local_queries(self, x: Tensor, rollout: Tensor | None) -> Tensor:
        """The CLS token and, where they matter, the selected patches of x (B, N + 1, D): -> (B, n, D)."""
        cls = x[:, :1]
        if not self.needs_rollout:
            return cls
        patches = self.num_prefix + top_patches(rollout, self.ratio, self.num_prefix)  # (B, n - 1) of the tokens
        return torch.cat([cls, x.gather(1, patches[:, :, None].expand(-1, -1, x.shape[2]))], dim=1)

    def forward(self, contexts: Sequence[Tensor], rollout: Tensor | None) -> Tensor:
        """
        Args:
            contexts: for each GLCA block the tokens (B, N + 1, D) that its keys and values come from.
            rollout: (B, N + 1), the CLS row of the accumulated attention at the first GLCA block; None with the
                read-out ``cls``.

        Returns:
            (B, D), the feature before the head.
        """
        tokens = self.local_queries(contexts[0], rollout)
        for block, context in zip(self.blocks, contexts, strict=True):
            tokens = self.cross_block(block, tokens, context)
        return self._read_out(self.norm(tokens))

    def rollout_row(self, context: Tensor, rollout: Tensor | None) -> Tensor:
        """The read-out's row of 0.5 S + 0.5 E in the first GLCA block, for pictures (DCAL eq. 2).

        Args:
            context: (B, N + 1, D), the tokens that the block's keys and values come from.
            rollout: as for ``forward``.

        Returns:
            (B, N + 1): attention averaged over heads, and over the queries as the read-out averages them.
        """
        attention = self.cross_attention(self.blocks[0], self.local_queries(context, rollout), context)  # (B, n, N + 1)
        positions = torch.eye(context.shape[1], device=context.device).expand(len(context), -1, -1)
        identity = self.local_queries(positions, rollout)  # (B, n, N + 1), which token each query is
        return self._read_out(0.5 * attention + 0.5 * identity)

    def _read_out(self, queries: Tensor) -> Tensor:
        """One vector of what there is for each query: (B, n, ...) -> (B, ...)."""
        if self.readout == "mean":
            return queries.mean(dim=1)
        if self.readout == "cls+local":
            return 0.5 * (queries[:, 0] + queries[:, 1:].mean(dim=1))
        return queries[:, 0]

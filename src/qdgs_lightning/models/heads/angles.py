"""Adding a margin to an angle, of which only the cosine is known."""

import math
from typing import Literal

import torch
from torch import Tensor

BeyondPi = Literal["linear", "clip", "ignore"]
BEYOND_PI: tuple[str, ...] = ("linear", "clip", "ignore")


def add_angle(
    cosines: Tensor, margin: float, *, factor: float = 1.0, beyond_pi: BeyondPi = "linear"
) -> Tensor:
    r"""Return :math:`\cos(m_1 \theta + m)`, which should fall as the angle grows.

    Beyond :math:`\pi` the cosine would rise again, so that training pushed the worst samples away
    from their class. It starts where :math:`\theta` reaches
    :math:`\theta_0 = (\pi - m) / m_1`, with :math:`\delta = \pi - \theta_0`:

    - ``linear``: :math:`\cos\theta - \delta \sin\delta` from there on. It keeps falling, with a
      step down at :math:`\theta_0` (the authors' mxnet code, CurricularFace). For margins of more
      than 2.33 that would be a step up, and :math:`1 - \cos\delta` is taken off instead.
    - ``clip``: -1 from there on, with no gradient (the code of AdaFace).
    - ``ignore``: the rising cosine (arcface_torch).

    Angles between random directions are close to :math:`\pi / 2`, so that training hardly ever
    gets there.

    Args:
        cosines: Within (-1, 1), ``[n]``.
        margin: The angle m, in radians, from 0 to pi.
        factor: The factor :math:`m_1` on the angle, positive.
        beyond_pi: See above.
    """
    angles = cosines.acos()
    if factor != 1:
        angles = angles * factor
    angles = angles + margin
    if beyond_pi == "clip":
        return angles.clamp(max=math.pi).cos()
    excess = math.pi - (math.pi - margin) / factor
    if beyond_pi == "ignore" or excess <= 0:
        return angles.cos()
    drop = max(excess * math.sin(excess), 1 - math.cos(excess))
    return torch.where(angles < math.pi, angles.cos(), cosines - drop)

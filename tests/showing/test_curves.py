"""The loss curves of all methods."""

import pandas as pd

from hybrid.showing import curves


def test_losses_are_the_histories():
    loss = pd.DataFrame({"step": [1, 2], "epoch": [0.5, 1.0], "seconds": [30.0, 60.0], "i_cpc": [0.0, 1.0], "loss": [3.0, 2.0]})
    players = loss.drop(columns=["i_cpc"]).rename(columns={"loss": "loss_discriminator"})
    histories = {"hybrid-representation": loss, "biggan-gan": players, "other": loss, "nvae-vae": loss[:0], "ddim-pixels": loss}
    axes = curves.losses(histories).axes
    shown = [axis for axis in axes if axis.axison]
    titles = ["Hybrid, representation", "BigGAN, gan", "other", "NVAE-lite, vae", "DDIM, pixels"]
    assert [a.get_title() for a in shown] == titles
    assert [a.get_ylabel() for a in shown] == ["loss", "loss discriminator", "loss", "", "loss"]
    assert shown[0].lines[0].get_xydata().tolist() == [[0.5, 3.0], [1.0, 2.0]]
    assert shown[0].get_xlabel() == "minutes"
    assert [text.get_text() for text in shown[3].texts] == ["no history"]
    assert len(curves.losses({}).axes) == 1

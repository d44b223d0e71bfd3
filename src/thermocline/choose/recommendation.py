"""What is recommended for a fit: each option with its value, where it comes from, why, and what else there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thermocline.choose.probe_results import Probes
from thermocline.config.resolved import shown
from thermocline.efficiency.costs.estimate import size
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.report.screen import paragraph
from thermocline.report.tables import html_block, html_lines, html_table, table

if TYPE_CHECKING:
    import pandas as pd

_HEADER = ["option", "value", "source", "why", "alternatives"]


@dataclass(frozen=True)
class Alternative:
    """Options in place of those that are recommended, and what they would cost.

    Attributes:
        options: Option → value.
        cost: In words, such as `3.1 GB`.

    Example:
        >>> from thermocline.choose.recommendation import Alternative
        >>> print(Alternative({"env.micro_batch_size": 8}, "3.1 GB"))
        env.micro_batch_size=8: 3.1 GB
    """

    options: Mapping[str, Any]
    cost: str

    def __str__(self) -> str:
        return f"{', '.join(f'{key}={shown(value)}' for key, value in self.options.items())}: {self.cost}"


@dataclass(frozen=True)
class Choice:
    """The value of an option.

    Attributes:
        option: Its dotted name.
        value: Its value.
        source: `user` or `preset`; `rule`: from the data and the model by a rule; `measured`: from bytes or seconds
            that were counted or timed.
        why: The reason.
        alternatives: What else there is.

    Example:
        >>> from thermocline.choose.recommendation import Choice
        >>> choice = Choice("env.precision", "fp32", "rule", "cpu: 32 bits, so that results are exact")
        >>> f"{choice.option}={choice.value} by a {choice.source}"
        'env.precision=fp32 by a rule'
    """

    option: str
    value: Any
    source: str
    why: str
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Recommendation:
    """What a fit would do, as a table that prints, shows in a notebook, and becomes options.

    Attributes:
        choices: The options that are not at their defaults.
        forecast: Bytes and seconds of the fit.
        headline: What it takes, and what was asked for, in a line.
        probes: Linear probes of layers and towers, where they were asked for.

    Example:
        >>> recommended = predictor.recommend(train, hyperparameters=tiny)
        >>> recommended["optim.lr"].value, recommended["optim.lr"].source
        (0.0001, 'rule')
        >>> recommended.to_frame().columns.tolist()
        ['option', 'value', 'source', 'why', 'alternatives']
        >>> recommended.to_dict()["env.batch_size"]
        16
    """

    choices: tuple[Choice, ...]
    forecast: Forecast
    headline: str
    probes: Probes | None = None

    def __getitem__(self, option: str) -> Choice:
        """Return the choice of an option.

        Raises:
            KeyError: The option is at its default.
        """
        for one in self.choices:
            if one.option == option:
                return one
        raise KeyError(f"{option!r} is at its default, or is no option; chosen: {', '.join(self.options)}")

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options."""
        return tuple(one.option for one in self.choices)

    def to_dict(self) -> dict[str, Any]:
        """Return option → value, to be edited and handed to `fit(hyperparameters=…)`; presets are to be given too."""
        return {one.option: _plain(one.value) for one in self.choices if one.source != "preset"}

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each option."""
        import pandas as pd

        rows = [
            (one.option, one.value, one.source, one.why, [str(each) for each in one.alternatives])
            for one in self.choices
        ]
        return pd.DataFrame(rows, columns=_HEADER)

    def _rows(self) -> list[list[str]]:
        return [
            [one.option, shown(one.value), one.source, one.why, "; ".join(map(str, one.alternatives))]
            for one in self.choices
        ]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        lines = [paragraph(self.headline), table([row[:4] for row in self._rows()], _HEADER[:4])]
        alternatives = dict.fromkeys(str(each) for one in self.choices for each in one.alternatives)
        others = [paragraph(f"  or {each}", indent="     ") for each in alternatives]
        probes = [] if self.probes is None else [str(self.probes)]
        return "\n".join([*lines, *(["Alternatives:", *others] if others else []), *probes, str(self.forecast)])

    def _repr_html_(self) -> str:
        options = html_block(html_lines([self.headline], strong=True), html_table(self._rows(), _HEADER))
        probes = "" if self.probes is None else self.probes._repr_html_()
        return f"{options}{probes}{self.forecast._repr_html_()}"


def as_alternative(options: Mapping[str, Any], needed: float) -> Alternative:
    """Return options with the memory that they take."""
    return Alternative(dict(options), size(needed))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
